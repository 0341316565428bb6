// The trade-off page: two objectives as a scatter, all quantities as parallel axes, filters, a preference, and one chosen point.
import type { FrontFile, FrontPoint } from "../../merge-core/pareto/front-file.ts";
import { pickPoint } from "../../merge-core/pareto/summarise-front.ts";
import { canvasKinds, drawScatter } from "../charts/scatter.ts";
import { button, chartFigure, type LiveFigure } from "../common/chart-figure.ts";
import { element, section } from "../common/dom.ts";
import { followTheme } from "../common/layers.ts";
import { DOT } from "./canvas.ts";
import { filterTable } from "./filter-table.ts";
import {
  type Candidate,
  candidatesOf,
  describePoint,
  type Filters,
  inOrder,
  kindOf,
  nameOf,
  type ParetoChoice,
  parallelOf,
  passing,
  pointsTable,
  preferredSetting,
  type Quantity,
  quantitiesOf,
  restoreChoice,
  type Setting,
  scatterOf,
} from "./model.ts";
import { legend, searchNotes, settingText } from "./notes.ts";
import { ParallelFigure } from "./parallel-figure.ts";
import { followDrag, type Place, type ScatterPlot, scatterPlot } from "./plot.ts";
import { type ParetoTools, PointPanel } from "./point-panel.ts";

/** How near, in pixels, a click has to be to a point. */
const REACH = 14;

export class ParetoPage {
  readonly element = element("main", { class: "pareto", "data-testid": "pareto" });
  readonly #keep: (choice: ParetoChoice) => void;
  readonly #figures: LiveFigure[] = [];
  readonly #point: PointPanel;
  readonly #preferenceFacts = element("div", { "aria-live": "polite" });
  readonly #readout = element("p", { class: "readout soft", "aria-live": "polite" });
  readonly #shownCount = element("p", { class: "soft", role: "status" });
  #file: FrontFile;
  #choice: ParetoChoice;
  #quantities: readonly Quantity[] = [];
  #candidates: readonly Candidate[] = [];
  #preferred: Setting | undefined;
  #pass: Uint8Array = new Uint8Array();
  #scatter: ScatterPlot | undefined;
  #parallel: ParallelFigure | undefined;
  #frame = 0;

  constructor(file: FrontFile, saved: Partial<ParetoChoice> | undefined, keep: (choice: ParetoChoice) => void, tools?: ParetoTools) {
    this.#file = file;
    this.#keep = keep;
    this.#point = new PointPanel(tools);
    this.#choice = restoreChoice(file, saved);
    this.#load(file);
    this.#build();
    followTheme(this.element, () => this.#redraw());
  }

  /** Takes a newer file: the points of a search that goes on. */
  show(file: FrontFile): void {
    const sameQuestions = JSON.stringify([file.objectives, file.coefficients]) === JSON.stringify([this.#file.objectives, this.#file.coefficients]);
    this.#choice = restoreChoice(file, this.#choice);
    this.#load(file);
    if (sameQuestions) this.#redraw();
    else this.#build();
  }

  #load(file: FrontFile): void {
    this.#file = file;
    this.#quantities = quantitiesOf(file);
    this.#candidates = candidatesOf(file);
    this.#refresh();
  }

  #refresh(): void {
    this.#pass = passing(this.#quantities, this.#choice.filters, this.#file.points.length);
    this.#preferred = preferredSetting(this.#candidates, this.#choice.preference);
  }

  #choose(change: Partial<ParetoChoice>): void {
    cancelAnimationFrame(this.#frame);
    this.#choice = { ...this.#choice, ...change };
    this.#keep(this.#choice);
    this.#refresh();
    this.#redraw();
  }

  /** A slider moves: its answer at once, the picture that shows it once a frame, the others not at all. */
  #prefer(preference: readonly number[]): void {
    this.#choice = { ...this.#choice, preference };
    this.#keep(this.#choice);
    this.#refresh();
    this.#describePreference();
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#figures.find(({ element: { tagName } }) => tagName === "FIGURE")?.redraw());
  }

  #redraw(): void {
    for (const chart of this.#figures) chart.redraw();
    this.#describe();
  }

  #build(): void {
    this.#figures.length = 0;
    const { objectives } = this.#file;
    const few = objectives.length < 2 ? " One objective is measured; the second axis is a coefficient." : "";
    this.element.replaceChildren(
      section(
        "What does each merge trade?",
        `Points are merges; up to the better ends of both axes is better. The line is the front of the two objectives shown, the shade what it dominates. Drag to filter, click to choose, or use arrow keys.${few}`,
        this.#axisBar(),
        element("div", { class: "side" }, this.#scatterFigure(), element("div", {}, this.#preferenceBox(), this.#point.element)),
      ),
      section(
        "And all of them together?",
        "One line a merge; the better end of an objective is up. Drag along an axis to filter by it, and its name to move it.",
        this.#parallelFigure(),
      ),
      section("Which merges are shown?", "Bounds on what is measured and on the coefficients.", this.#filterBox()),
      this.#searchNotes(),
    );
    this.#describe();
  }

  #axisBar(): HTMLElement {
    const choice = (axis: "x" | "y", label: string) => {
      const list = element("select", { id: `axis-${axis}` }, ...this.#quantities.map(({ name }) => element("option", { value: name }, name)));
      list.value = this.#choice[axis];
      list.addEventListener("change", () => this.#choose({ [axis]: list.value }));
      return element(
        "span",
        { class: "field" },
        element("label", { for: `axis-${axis}` }, label),
        list,
        this.#axisSwitch(axis, "logarithmic", "Log"),
        this.#axisSwitch(axis, "inverted", "Invert"),
      );
    };
    return element("div", { class: "toolbar" }, choice("x", "Across"), choice("y", "Up"));
  }

  #axisSwitch(axis: "x" | "y", key: "logarithmic" | "inverted", title: string): HTMLElement {
    const settings = () => this.#choice.axes[this.#choice[axis]] ?? {};
    const made = button(title, () => this.#choose({ axes: { ...this.#choice.axes, [this.#choice[axis]]: { ...settings(), [key]: !settings()[key] } } }), {
      "aria-label": `${title}, ${axis === "x" ? "across" : "up"}`,
    });
    const show = () => made.setAttribute("aria-pressed", String(settings()[key] ?? false));
    show();
    this.#figures.push({ element: made, redraw: show });
    return made;
  }

  #add(chart: LiveFigure): HTMLElement {
    this.#figures.push(chart);
    return chart.element;
  }

  #scatterFigure(): HTMLElement {
    const data = () => scatterOf(this.#file, this.#quantities, this.#choice, this.#pass, this.#preferred);
    const chart = chartFigure({
      name: "trade-offs",
      caption: "Points",
      widest: 640,
      draw: (width) => drawScatter(data(), { width }),
      show: (width) => this.#showScatter(width),
      table: () => pointsTable(this.#file, this.#pass),
      data: () => ({ ...this.#file, points: this.#file.points.filter((_, i) => this.#pass[i] === 1) }),
    });
    const holder = chart.element.querySelector<HTMLElement>(".holder");
    if (holder !== null) this.#reachPoints(holder);
    chart.element.querySelector(".holder")?.after(legend(), this.#readout);
    return this.#add(chart);
  }

  #showScatter(width: number): HTMLElement {
    const [x, y] = [this.#choice.x, this.#choice.y].map((name) => this.#quantities.find((quantity) => quantity.name === name)?.values);
    const data = scatterOf(this.#file, this.#quantities, this.#choice, this.#pass, this.#preferred);
    const onCanvas = canvasKinds(data);
    const kinds = Uint8Array.from(this.#file.points, (point) => {
      const kind = kindOf(point);
      return kind !== undefined && onCanvas.includes(kind) && (kind === "measured" || kind === "predicted" || kind === "front") ? DOT[kind] : DOT.none;
    });
    const nothing: Float64Array = new Float64Array(kinds.length).fill(Number.NaN);
    const plot = scatterPlot(data, width, { xs: x ?? nothing, ys: y ?? nothing, kinds });
    this.#scatter = plot;
    plot.paint(this.#pass);
    followDrag(plot.element, {
      move: (from, to) => this.#brush(this.#rectangle(plot, from, to)),
      end: (from, to) => this.#choose({ filters: { ...this.#choice.filters, ...this.#rectangle(plot, from, to) } }),
      click: (at) => this.#choose({ chosen: this.#nearest(plot, at)?.id }),
    });
    plot.element.addEventListener("pointermove", (event) => {
      if (event.buttons === 0) this.#say(this.#nearest(plot, placeIn(plot.element, event)));
    });
    return plot.element;
  }

  #rectangle({ layout }: ScatterPlot, from: Place, to: Place): Filters {
    const between = (scale: { invert(pixel: number): number }, a: number, b: number): [number, number] => {
      const [low = 0, high = 0] = [scale.invert(a), scale.invert(b)].sort((p, q) => p - q);
      return [low, high];
    };
    return {
      [this.#choice.x]: between(layout.x, from.x - layout.left, to.x - layout.left),
      [this.#choice.y]: between(layout.y, from.y - layout.top, to.y - layout.top),
    };
  }

  /** While a brush moves only the canvases are painted. */
  #brush(change: Filters): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => {
      this.#pass = passing(this.#quantities, { ...this.#choice.filters, ...change }, this.#file.points.length);
      this.#scatter?.paint(this.#pass);
      this.#parallel?.paint(this.#pass, true);
      this.#countShown();
    });
  }

  #nearest({ layout }: ScatterPlot, at: Place): FrontPoint | undefined {
    const [x, y] = [this.#choice.x, this.#choice.y].map((name) => this.#quantities.find((quantity) => quantity.name === name)?.values);
    let best: { point: FrontPoint; far: number } | undefined;
    this.#file.points.forEach((point, i) => {
      if (kindOf(point) === undefined) return;
      const far = Math.hypot(layout.left + layout.x(x?.[i] ?? Number.NaN) - at.x, layout.top + layout.y(y?.[i] ?? Number.NaN) - at.y);
      if (far <= REACH && (best === undefined || far < best.far)) best = { point, far };
    });
    return best?.point;
  }

  #say(point: FrontPoint | undefined): void {
    this.#readout.textContent = point === undefined ? "" : describePoint(this.#file, point);
  }

  /** Arrow keys go through the points that the filters let through, from left to right. */
  #reachPoints(holder: HTMLElement): void {
    for (const [name, value] of Object.entries({
      tabindex: "0",
      role: "group",
      "aria-label": "Points. Left and right keys move over them, Escape leaves none.",
    }))
      holder.setAttribute(name, value);
    holder.addEventListener("keydown", (event) => {
      const values = this.#quantities.find(({ name }) => name === this.#choice.x)?.values;
      const order = this.#file.points
        .map((point, i) => ({ point, at: values?.[i] ?? Number.NaN, shown: this.#pass[i] === 1 && kindOf(point) !== undefined }))
        .filter(({ at, shown }) => shown && Number.isFinite(at))
        .sort((a, b) => a.at - b.at);
      const now = order.findIndex(({ point }) => point.id === this.#choice.chosen);
      const steps: Readonly<Record<string, number>> = { ArrowRight: now + 1, ArrowLeft: now < 0 ? 0 : now - 1, Home: 0, End: order.length - 1 };
      const next = steps[event.key];
      if (next === undefined && event.key !== "Escape") return;
      event.preventDefault();
      const point = next === undefined ? undefined : order[Math.max(0, Math.min(order.length - 1, next))]?.point;
      this.#choose({ chosen: point?.id });
      this.#say(point);
    });
  }

  #parallelFigure(): HTMLElement {
    const file = () => this.#file;
    const figure = new ParallelFigure(
      {
        data: () => parallelOf(file(), inOrder(this.#quantities, this.#choice.order), this.#choice),
        pass: () => this.#pass,
        onFront: () => Uint8Array.from(file().points, (point) => Number(point.onFront)),
        table: () => pointsTable(file(), this.#pass),
        json: () => ({ ...file(), points: file().points.filter((_, i) => this.#pass[i] === 1) }),
      },
      {
        brush: (filter) => this.#brush(filter),
        filter: (filter) => this.#choose({ filters: { ...this.#choice.filters, ...filter } }),
        clear: (name) => {
          const { [name]: _, ...filters } = this.#choice.filters;
          this.#choose({ filters });
        },
        reorder: (order) => this.#choose({ order }),
      },
    );
    this.#parallel = figure;
    return this.#add(figure);
  }

  #preferenceBox(): HTMLElement {
    const { objectives } = this.#file;
    if (objectives.length < 2) return element("div");
    const sliders = objectives.flatMap(({ name }, i) => {
      const value = element("output", {}, String(this.#choice.preference[i] ?? 0));
      const slider = element("input", { type: "range", min: 0, max: 100, id: `preference-${i}`, value: this.#choice.preference[i] ?? 0 });
      slider.addEventListener("input", () => {
        value.textContent = slider.value;
        this.#prefer(this.#choice.preference.map((old, k) => (k === i ? Number(slider.value) : old)));
      });
      return [element("label", { for: `preference-${i}`, title: name }, name), slider, value];
    });
    return element("section", {}, element("h3", {}, "How much does each count?"), element("div", { class: "preferences" }, ...sliders), this.#preferenceFacts);
  }

  #describe(): void {
    this.#describePreference();
    this.#countShown();
    this.#point.show(
      this.#file,
      this.#file.points.find(({ id }) => id === this.#choice.chosen),
    );
  }

  #describePreference(): void {
    const best = this.#choice.preference.some((weight) => weight > 0) ? pickPoint(this.#file, this.#choice.preference) : undefined;
    const said = this.#preferred && settingText(this.#file, this.#preferred);
    this.#preferenceFacts.replaceChildren(
      ...(best === undefined
        ? [element("p", { class: "soft" }, "No merge is on the front yet.")]
        : [
            element(
              "p",
              {},
              "Best measured: ",
              button(nameOf(best), () => this.#choose({ chosen: best.id }), { class: "link" }),
            ),
          ]),
      ...(said === undefined || this.#preferred === undefined
        ? []
        : [element("p", { class: "soft" }, `Predicted best: ${said}`), this.#point.actions(this.#preferred.coefficients, true)]),
    );
  }

  #countShown(): void {
    const shown = this.#pass.reduce((sum, value) => sum + value, 0);
    const all = this.#file.points.length;
    this.#shownCount.textContent =
      shown === all
        ? all === 1
          ? "The only point."
          : `All ${all.toLocaleString("en")} points.`
        : `${shown.toLocaleString("en")} of ${all.toLocaleString("en")} points.`;
  }

  #filterBox(): HTMLElement {
    const table = filterTable(
      this.#quantities.map(({ name }) => name),
      () => this.#choice.filters,
      (name, bounds) => this.#choose({ filters: { ...this.#choice.filters, [name]: bounds } }),
    );
    const clear = button("Clear Filters", () => this.#choose({ filters: {} }));
    return element(
      "div",
      {},
      element("div", { class: "toolbar" }, this.#shownCount, clear),
      element("div", { class: "scroll" }, this.#add(table)),
      this.#point.said,
    );
  }

  #searchNotes(): HTMLElement {
    const { sources, facts } = searchNotes(this.#file);
    return section("How was this found?", sources, element("ul", {}, ...facts.map((fact) => element("li", {}, fact))));
  }
}

function placeIn(target: Element, event: PointerEvent): Place {
  const box = target.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}
