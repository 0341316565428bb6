// All quantities as upright axes: dragging along one filters by it, dragging its name or Shift with an arrow moves it.
import { drawParallel, type Parallel } from "../charts/parallel.ts";
import { chartFigure, type LiveFigure } from "../common/chart-figure.ts";
import { element } from "../common/dom.ts";
import type { Table } from "../common/table.ts";
import { type Filters, movedTo } from "./model.ts";
import { followDrag, type ParallelPlot, type Place, parallelPlot } from "./plot.ts";

export interface ParallelSource {
  /** Axes in the order in which they are shown, titled by their names. */
  data(): Parallel;
  pass(): Uint8Array;
  onFront(): Uint8Array;
  table(): Table;
  json(): unknown;
}

export interface ParallelActions {
  /** A filter that is being drawn, and one that was. */
  brush(filter: Filters): void;
  filter(filter: Filters): void;
  clear(name: string): void;
  reorder(names: readonly string[]): void;
}

/** What lies higher above the axes than this, in pixels, are names. */
const NAME_GAP = 8;
const LABEL = "Axes. Left and right keys move over them, with Shift they move the axis, Escape leaves it.";

export class ParallelFigure implements LiveFigure {
  readonly element: HTMLElement;
  readonly #source: ParallelSource;
  readonly #actions: ParallelActions;
  readonly #chart: LiveFigure;
  readonly #readout = element("p", { class: "readout soft", "aria-live": "polite" });
  #plot: ParallelPlot | undefined;
  /** The axis that the keys are at, by its name. */
  #axis: string | undefined;

  constructor(source: ParallelSource, actions: ParallelActions) {
    this.#source = source;
    this.#actions = actions;
    const shown = () => [...source.pass()].flatMap((passes, i) => (passes === 1 ? [i] : []));
    this.#chart = chartFigure({
      name: "parallel",
      caption: "Points",
      widest: 980,
      draw: (width) => drawParallel(source.data(), { width }, shown()),
      show: (width) => this.#show(width),
      table: () => source.table(),
      data: () => source.json(),
    });
    this.element = this.#chart.element;
    const holder = this.element.querySelector<HTMLElement>(".holder");
    if (holder !== null) this.#reachAxes(holder);
    holder?.after(this.#readout);
  }

  redraw(): void {
    this.#chart.redraw();
  }

  /** Paints the lines again, fewer of them while a brush moves. */
  paint(pass: Uint8Array, moving: boolean): void {
    this.#plot?.paint(pass, moving);
  }

  get #names(): string[] {
    return this.#source.data().axes.map(({ title }) => title);
  }

  #show(width: number): HTMLElement {
    const plot = parallelPlot(this.#source.data(), width, this.#source.onFront());
    this.#plot = plot;
    plot.paint(this.#source.pass(), false);
    const names = this.#names;
    const { layout } = plot;
    const at = layout.places.map((place) => layout.left + place);
    const axisAt = ({ x }: Place) => at.reduce((best, place, i) => (Math.abs(place - x) < Math.abs((at[best] ?? 0) - x) ? i : best), 0);
    const isName = ({ y }: Place) => y < layout.top - NAME_GAP;
    const filter = (from: Place, to: Place): Filters => {
      const scale = layout.scales[axisAt(from)];
      const values = [from.y, to.y].map((y) => scale?.invert(Math.max(0, Math.min(layout.height, y - layout.top))) ?? 0).sort((a, b) => a - b);
      return { [names[axisAt(from)] ?? ""]: [values[0] ?? 0, values[1] ?? 0] };
    };
    followDrag(plot.element, {
      move: (from, to) => (isName(from) ? slide(plot, axisAt(from), to.x - from.x) : this.#actions.brush(filter(from, to))),
      end: (from, to) => {
        if (!isName(from)) return this.#actions.filter(filter(from, to));
        const axis = axisAt(from);
        this.#move(axis, at.filter((place, i) => i !== axis && place < to.x).length);
      },
      click: (place) => isName(place) || this.#actions.clear(names[axisAt(place)] ?? ""),
    });
    this.#mark(plot.element);
    return plot.element;
  }

  #move(from: number, to: number): void {
    const names = movedTo(this.#names, from, to);
    this.#axis = names[to];
    this.#actions.reorder(names);
    this.#say();
  }

  #mark(plot: HTMLElement): void {
    const at = this.#names.indexOf(this.#axis ?? "");
    plot.querySelectorAll(".upright").forEach((axis, i) => {
      axis.classList.toggle("cursor", i === at);
    });
  }

  #say(): void {
    const names = this.#names;
    const at = names.indexOf(this.#axis ?? "");
    this.#readout.textContent = at < 0 ? "" : `${names[at]}, axis ${at + 1} of ${names.length}`;
  }

  #reachAxes(holder: HTMLElement): void {
    for (const [name, value] of Object.entries({ tabindex: "0", role: "group", "aria-label": LABEL })) holder.setAttribute(name, value);
    holder.addEventListener("keydown", (event) => {
      const names = this.#names;
      const at = names.indexOf(this.#axis ?? "");
      const steps: Readonly<Record<string, number>> = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 };
      const step = steps[event.key];
      if (step === undefined && event.key !== "Escape") return;
      event.preventDefault();
      const next = step === undefined ? undefined : Math.max(0, Math.min(names.length - 1, step));
      if (next !== undefined && event.shiftKey && at >= 0) return this.#move(at, next);
      this.#axis = next === undefined ? undefined : names[next];
      if (this.#plot !== undefined) this.#mark(this.#plot.element);
      this.#say();
    });
  }
}

/** Lets an axis follow the pointer; the lines follow when it is let go. */
function slide({ element: { children }, layout }: ParallelPlot, axis: number, by: number): void {
  const [, svg] = children;
  const drawn = svg?.querySelectorAll(".upright")[axis];
  drawn?.setAttribute("transform", `translate(${((layout.places[axis] ?? 0) + by).toFixed(1)},0)`);
}
