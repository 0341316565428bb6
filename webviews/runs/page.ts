// Training curves of one or several runs, and how far every run is.
import { drawBars } from "../charts/bars.ts";
import { type Curves, curveX, drawCurves, SERIES } from "../charts/curves.ts";
import { button, chartFigure, type LiveFigure } from "../common/chart-figure.ts";
import { element } from "../common/dom.ts";
import { svgElement } from "../common/svg.ts";
import type { FollowedRun, RunsState, TrainingRun } from "../protocol.ts";
import { atStep, METRICS, metricCurves, metricTable, parameterBudget, rateCurves, ratesTable, rateText } from "./model.ts";

/** What is chosen; survives hiding the page. */
export interface RunsChoice {
  readonly smoothing: number;
  readonly logarithmic: boolean;
  readonly hidden: readonly string[];
  readonly step?: number | undefined;
}

export const FIRST_CHOICE: RunsChoice = { smoothing: 0.6, logarithmic: false, hidden: [] };

/** Budgets of more runs are folded. */
const FEW = 3;

export interface RunsTools {
  addLogs(): void;
  cancel(id: string): void;
}

export class RunsPage {
  readonly element = element("main", { "data-testid": "runs" });
  readonly #keep: (choice: RunsChoice) => void;
  readonly #tools: RunsTools;
  readonly #readout = element("p", { class: "readout soft", "aria-live": "polite" });
  #figures: LiveFigure[] = [];
  /** What the present figures were made for; they are redrawn, not made again, while it stays. */
  #shape = "";
  #state: RunsState = { trainings: [], runs: [], logs: [] };
  #choice: RunsChoice;
  readonly #runParts = new Map<string, RunPart>();

  constructor(choice: RunsChoice, keep: (choice: RunsChoice) => void, tools: RunsTools) {
    this.#choice = choice;
    this.#keep = keep;
    this.#tools = tools;
  }

  show(state: RunsState): void {
    this.#state = state;
    const metrics = METRICS.filter(({ id }) => state.trainings.some(({ records }) => records.some((record) => record[id] !== undefined)));
    const shape = JSON.stringify([
      state.trainings.map(({ log, tensors }) => [log, tensors?.length]),
      metrics.map(({ id }) => id),
      state.runs.map(({ id, samples }) => [id, samples.length > 1]),
    ]);
    if (shape !== this.#shape) this.#build(metrics);
    this.#shape = shape;
    this.#redraw();
  }

  #choose(change: Partial<RunsChoice>): void {
    this.#choice = { ...this.#choice, ...change };
    this.#keep(this.#choice);
    this.#redraw();
  }

  #redraw(): void {
    for (const figure of this.#figures) figure.redraw();
    for (const run of this.#state.runs) this.#runParts.get(run.id)?.show(run);
    const { step } = this.#choice;
    this.#readout.textContent = step === undefined ? "" : atStep(this.#state.trainings, step, this.#choice.hidden);
  }

  #build(metrics: readonly (typeof METRICS)[number][]): void {
    this.#figures = [];
    const { trainings, runs } = this.#state;
    const add = button("Add Logs...", () => this.#tools.addLogs());
    if (trainings.length === 0 && runs.length === 0) {
      this.element.replaceChildren(
        element("p", { class: "soft" }, "Curves of training and the progress of runs are shown here. Nothing has run yet."),
        element("p", {}, add),
      );
      return;
    }
    const training =
      trainings.length === 0
        ? []
        : [
            element(
              "section",
              {},
              element("h2", {}, "How does training go?"),
              this.#controls(add),
              this.#readout,
              element("div", { class: "charts" }, ...metrics.map((metric) => this.#metricFigure(metric))),
            ),
            ...trainings.filter(({ tensors = [] }) => tensors.length > 0).map((run) => this.#budget(run)),
          ];
    this.#runParts.clear();
    const work = runs.length === 0 ? [] : [element("section", {}, element("h2", {}, "How far are the runs?"), ...runs.map((run) => this.#runSection(run)))];
    this.element.replaceChildren(...training, ...work, ...(trainings.length === 0 ? [element("p", {}, add)] : []));
  }

  #controls(add: HTMLElement): HTMLElement {
    const smoothing = element("input", { type: "range", id: "smoothing", min: 0, max: 0.99, step: 0.01, value: this.#choice.smoothing });
    const shown = element("output", {}, String(this.#choice.smoothing));
    smoothing.addEventListener("input", () => {
      shown.textContent = smoothing.value;
      this.#choose({ smoothing: Number(smoothing.value) });
    });
    const log = element("input", { type: "checkbox", id: "log" });
    log.checked = this.#choice.logarithmic;
    log.addEventListener("change", () => this.#choose({ logarithmic: log.checked }));
    const runs = this.#state.trainings.map((run, i) => {
      const box = element("input", { type: "checkbox", id: `run-${i}` });
      box.checked = !this.#choice.hidden.includes(run.log);
      box.addEventListener("change", () =>
        this.#choose({ hidden: box.checked ? this.#choice.hidden.filter((other) => other !== run.log) : [...this.#choice.hidden, run.log] }),
      );
      return element("li", {}, box, element("label", { for: `run-${i}`, title: run.log }, key(i), `${run.name}${run.running ? " (running)" : ""}`));
    });
    return element(
      "div",
      {},
      element("ul", { class: "toolbar runs-list", "aria-label": "Runs shown" }, ...runs),
      element(
        "p",
        { class: "toolbar" },
        element("span", { class: "field" }, element("label", { for: "smoothing" }, "Smoothing"), smoothing, shown),
        element("span", { class: "field" }, log, element("label", { for: "log" }, "logarithmic")),
        add,
      ),
    );
  }

  #metricFigure(metric: (typeof METRICS)[number]): HTMLElement {
    const data = () => metricCurves(this.#state.trainings, metric, this.#choice);
    const figure = chartFigure({
      name: metric.id,
      caption: metric.title,
      widest: 640,
      draw: (width) => drawCurves(data(), { width }),
      table: () => metricTable(this.#state.trainings, metric, this.#choice.hidden),
      data: () => this.#state.trainings.filter(({ log }) => !this.#choice.hidden.includes(log)).map(({ name, records }) => ({ name, records })),
    });
    this.#figures.push(figure);
    const holder = figure.element.querySelector<HTMLElement>(".holder");
    if (holder !== null) this.#reachSteps(holder, data);
    return element("div", {}, element("h3", {}, metric.title), figure.element);
  }

  /** Pointer and arrow keys choose a step, which all charts mark. */
  #reachSteps(holder: HTMLElement, data: () => Curves): void {
    for (const [name, value] of Object.entries({ tabindex: "0", role: "group", "aria-label": `${data().label}. Left and right keys move over the steps.` }))
      holder.setAttribute(name, value);
    const steps = () => [...new Set(this.#state.trainings.flatMap(({ records }) => records.map(({ step }) => step)))].sort((a, b) => a - b);
    holder.addEventListener("keydown", (event) => {
      const all = steps();
      const at = all.indexOf(this.#choice.step ?? Number.NaN);
      const jump = Math.max(1, Math.round(all.length / 20));
      const moves: Readonly<Record<string, number>> = {
        ArrowRight: at + 1,
        ArrowLeft: Math.max(0, at - 1),
        PageDown: at + jump,
        PageUp: Math.max(0, at - jump),
        Home: 0,
        End: all.length - 1,
      };
      const next = moves[event.key];
      if (next === undefined && event.key !== "Escape") return;
      event.preventDefault();
      this.#choose({ step: next === undefined ? undefined : all[Math.min(all.length - 1, next)] });
    });
    holder.addEventListener("click", (event) => {
      const svg = holder.querySelector("svg");
      if (svg === null) return;
      const box = svg.getBoundingClientRect();
      const x = curveX(svg, data(), ((event.clientX - box.left) * svg.viewBox.baseVal.width) / box.width);
      const all = steps();
      const [first] = all;
      if (first !== undefined) this.#choose({ step: all.reduce((best, step) => (Math.abs(step - x) < Math.abs(best - x) ? step : best), first) });
    });
  }

  #budget(run: TrainingRun): HTMLElement {
    const { total, bars, rows } = parameterBudget(run);
    const figure = chartFigure({
      name: "parameters",
      caption: `Parameters of ${run.name}`,
      widest: 560,
      draw: (width) => drawBars(bars, { width }),
      table: () => ({ header: ["module", "parameters"], rows }),
      data: () => rows.map(([module, parameters]) => ({ module, parameters })),
    });
    const details = element("details", {}, element("summary", {}, `${run.name}: ${total.toLocaleString("en")} trained parameters`), figure.element);
    details.open = this.#state.trainings.length <= FEW;
    return details;
  }

  #runSection(run: FollowedRun): HTMLElement {
    const part = new RunPart(run, this.#tools);
    this.#runParts.set(run.id, part);
    return part.element;
  }
}

/** One run: its bar, its words, its rates. */
class RunPart {
  readonly element: HTMLElement;
  readonly #bar = element("progress", { max: 1 });
  readonly #text = element("p", { role: "status" });
  readonly #rates = element("p", { class: "soft" });
  readonly #cancel: HTMLButtonElement;
  readonly #problems = element("div");
  readonly #figures: readonly LiveFigure[];
  #run: FollowedRun;

  constructor(run: FollowedRun, tools: RunsTools) {
    this.#run = run;
    this.#cancel = button("Cancel", () => tools.cancel(run.id));
    this.#bar.setAttribute("aria-label", `Progress of ${run.title}`);
    this.#figures = run.samples.length > 1 ? rateCurves(run).map((_, i) => this.#rateFigure(i)) : [];
    const charts = element("div", { class: "charts" }, ...this.#figures.map((figure) => figure.element));
    this.element = element("section", { class: "run" }, element("h3", {}, run.title), this.#bar, this.#text, this.#rates, this.#cancel, this.#problems, charts);
  }

  show(run: FollowedRun): void {
    this.#run = run;
    const isRunning = run.status === "running";
    this.#bar.hidden = !isRunning && run.status !== "done";
    this.#bar.value = run.status === "done" ? 1 : run.fraction;
    const shard = run.shard === undefined || !isRunning ? "" : `; file ${run.shard.number} of ${run.shard.count}, ${run.shard.file}`;
    const text = `${run.text}${shard}${isRunning && run.detail !== undefined ? `; ${run.detail}` : ""}`;
    if (this.#text.textContent !== text) this.#text.textContent = text;
    this.#rates.textContent = rateText(run);
    this.#cancel.hidden = !isRunning;
    this.#problems.replaceChildren(
      ...run.diagnostics.map(({ message, remedy }) => element("p", { class: "problem" }, `${message}${remedy === undefined ? "" : `; ${remedy}`}`)),
    );
    for (const figure of this.#figures) figure.redraw();
  }

  #rateFigure(i: number): LiveFigure {
    const data = (): Curves => rateCurves(this.#run)[i] ?? { label: "", xTitle: "", yTitle: "", curves: [] };
    return chartFigure({
      name: `rates-${i + 1}`,
      caption: data().label,
      widest: 640,
      draw: (width) => drawCurves(data(), { width }),
      table: () => ratesTable(data()),
      data: () => this.#run.samples,
      cursor: { marks: ".curve-group", label: data().label },
    });
  }
}

function key(series: number): SVGSVGElement {
  return svgElement(
    "svg",
    { viewBox: "0 0 26 8", width: 26, height: 8, "aria-hidden": "true", class: `key series-${series % SERIES}` },
    svgElement("path", { d: "M0,4H26" }),
  );
}
