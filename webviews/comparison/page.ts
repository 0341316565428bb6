// The similarity page. What is chosen in one picture is marked, filtered or opened in the others.
import type { ActivationPair, Comparison, TensorSpectra } from "../../merge-core/analysis/comparison.ts";
import { drawBars } from "../charts/bars.ts";
import { drawColumns } from "../charts/columns.ts";
import { drawDendrogram } from "../charts/dendrogram.ts";
import type { Heatmap } from "../charts/heatmap.ts";
import { drawPlane } from "../charts/plane.ts";
import { button, chartFigure, type LiveFigure } from "../common/chart-figure.ts";
import { breakable, element, section } from "../common/dom.ts";
import { heatmapFigure, heatmapTable } from "../common/heatmap-figure.ts";
import { dataTable, folded } from "../common/table.ts";
import { activationHeatmap, activationTable } from "./activations.ts";
import { modelMatrix, modelTree, orderOf } from "./cosines.ts";
import { modelPlane } from "./geometry.ts";
import { type Cell, cellAt, isSame, layerHeatmap, levelsOf, tensorsIn } from "./layers.ts";
import { type MeasureView, type Subject, subjectsOf } from "./measures.ts";
import { modelNames } from "./names.ts";
import { RecipeBar, type RecipeTools } from "./recipe-bar.ts";
import { SpectraPanel, subspaceOffer } from "./spectra-panel.ts";
import { columnsTable, modelsTable, pairsTable, planeTable, roleBars, signColumns, tensorsTable } from "./view.ts";

/** What is chosen; survives hiding the page. */
export interface Choice {
  readonly subject: string;
  readonly measure: string;
  readonly cells: readonly Cell[];
  readonly tensor?: string | undefined;
}

const NOTHING: Choice = { subject: "", measure: "", cells: [] };

export interface PageOptions {
  readonly choice?: Choice | undefined;
  readonly onChoice?: (choice: Choice) => void;
  readonly recipe?: RecipeTools | undefined;
  /** Measures a tensor's spectra that the comparison lacks. */
  readonly measureSpectra?: ((tensor: string) => Promise<TensorSpectra>) | undefined;
  /** Measures the subspaces of all matrices; the page is shown anew when it is done. */
  readonly measureSubspaces?: (() => Promise<unknown>) | undefined;
}

const NO_MEASURES: Heatmap = { label: "No measures", columns: [], summariesFrom: 0, rows: [] };

/** Rows of the list of tensors; the table behind it has all. */
const LISTED = 200;

export class ComparisonPage {
  readonly element = element("main", { "data-testid": "comparison" });
  readonly #comparison: Comparison;
  readonly #options: PageOptions;
  readonly #names: readonly string[];
  readonly #subjects: readonly Subject[];
  readonly #order: readonly number[];
  readonly #figures: LiveFigure[] = [];
  readonly #subject = element("select", { id: "subject" });
  readonly #measure = element("select", { id: "measure" });
  readonly #levels = element("nav", { class: "toolbar", "aria-label": "From the whole to a tensor" });
  readonly #tensors = element("div", { class: "tensors", tabindex: 0, role: "region", "aria-label": "Tensors of the choice" });
  readonly #spectra: SpectraPanel;
  readonly #recipeBar: RecipeBar;
  #choice: Choice;

  constructor(comparison: Comparison, options: PageOptions = {}) {
    this.#comparison = comparison;
    this.#options = options;
    this.#recipeBar = new RecipeBar(
      comparison.tensors.map(({ name }) => name),
      options.recipe,
    );
    const models = { chosen: () => this.#chosenModels, choose: (model: number) => this.#choosePair(model, model) };
    this.#spectra = new SpectraPanel(comparison, models, options.measureSpectra);
    this.#names = modelNames(comparison.models);
    this.#subjects = subjectsOf(comparison);
    this.#order = orderOf(comparison);
    this.#choice = { ...NOTHING, ...options.choice };
    this.#subject.append(...this.#subjects.map(({ id, name }) => element("option", { value: id }, name)));
    this.#subject.addEventListener("change", () => this.#choose({ subject: this.#subject.value }));
    this.#measure.addEventListener("change", () => this.#choose({ measure: this.#measure.value }));
    this.element.append(...this.#sections());
    this.#update();
  }

  get #chosenSubject(): Subject | undefined {
    return this.#subjects.find(({ id }) => id === this.#choice.subject) ?? this.#subjects[0];
  }

  get #chosenMeasure(): MeasureView | undefined {
    const measures = this.#chosenSubject?.measures ?? [];
    return measures.find(({ id }) => id === this.#choice.measure) ?? measures[0];
  }

  /** Models that the chosen subject is about. */
  get #chosenModels(): readonly number[] {
    return [...(/^(?:pair|model)-(.*)$/.exec(this.#choice.subject)?.[1]?.split("-") ?? [])].map(Number);
  }

  #choose(change: Partial<Choice>): void {
    this.#choice = { ...this.#choice, ...change };
    this.#options.onChoice?.(this.#choice);
    this.#update();
  }

  #update(): void {
    const subject = this.#chosenSubject;
    this.#subject.value = subject?.id ?? "";
    this.#measure.replaceChildren(...(subject?.measures ?? []).map(({ id, title }) => element("option", { value: id }, title)));
    this.#measure.value = this.#chosenMeasure?.id ?? "";
    for (const figure of this.#figures) figure.redraw();
    this.#updateLevels();
    this.#updateTensors();
    this.#spectra.show(this.#choice.tensor);
    this.#updateRecipeBar();
  }

  #sections(): HTMLElement[] {
    const comparison = this.#comparison;
    const { models, layers } = comparison;
    if (models.length === 0)
      return [element("p", { class: "soft" }, "No models were compared. Choose two or more, or one and the base that it was trained from.")];
    return [
      ...(models.length > 1 ? [this.#modelSection()] : []),
      element(
        "p",
        { class: "toolbar sticky" },
        element("span", { class: "field" }, element("label", { for: "subject" }, "Show"), this.#subject),
        element("span", { class: "field" }, element("label", { for: "measure" }, "by"), this.#measure),
        button("Clear Choice", () => this.#choose({ cells: [], tensor: undefined })),
        ...(comparison.spectra === undefined ? subspaceOffer(this.#options.measureSubspaces) : []),
      ),
      ...(layers.length > 0 ? [this.#layerSection()] : []),
      this.#drillSection(),
      ...(roleBars(this.#comparison).bars.every(({ value }) => Number.isNaN(value)) ? [] : [this.#roleSection()]),
      ...(this.#comparison.activations === undefined ? [] : [this.#activationSection()]),
      this.#changeSection(),
      this.#notes(),
    ];
  }

  #add(figure: LiveFigure): HTMLElement {
    this.#figures.push(figure);
    return figure.element;
  }

  #modelSection(): HTMLElement {
    const comparison = this.#comparison;
    const hasBase = comparison.base !== undefined;
    const map = modelMatrix(comparison, this.#order);
    const tree = modelTree(comparison);
    const isChosen = (row: number, column: number) => {
      const pair = [this.#order[row] ?? -1, this.#order[column] ?? -1].sort((a, b) => a - b);
      return row !== column && pair.join() === this.#chosenModels.join();
    };
    const matrix = this.#add(
      heatmapFigure({
        name: "model-cosines",
        caption: map.label,
        widest: 640,
        map: () => ({ ...map, selected: isChosen }),
        data: () => ({ models: map.columns, cosines: map.rows.map(({ values }) => values) }),
        choose: (row, column) => this.#chooseModels(row, column),
      }),
    );
    const plane = () => modelPlane(comparison, this.#chosenModels);
    const mapFigure = chartFigure({
      name: "model-map",
      caption: "Map of the models",
      widest: 560,
      draw: (width) => drawPlane(plane(), { width }),
      table: () => planeTable(plane()),
      data: plane,
      cursor: { marks: ".point", label: "Map of the models", choose: (row) => this.#choosePoint(plane().points[row]?.name) },
    });
    const pictures = [matrix, this.#add(mapFigure)];
    if (tree !== undefined)
      pictures.push(
        this.#add(
          chartFigure({
            name: "model-tree",
            caption: tree.label,
            widest: 640,
            draw: (width) => drawDendrogram({ ...tree, selected: this.#chosenModels }, { width }),
            table: () => heatmapTable(map),
            data: () => tree.root,
            cursor: { marks: ".leaf", label: tree.label, choose: (row) => this.#chooseModels(row, row) },
          }),
        ),
      );
    const what = hasBase ? "changes from the base" : "weights";
    const note = hasBase ? " Changes of different tasks are often nearly unrelated." : " Models of one origin all have weights near 1.";
    return section(
      "Which models are alike?",
      `Cosine of the models' ${what}: 1 is the same direction, 0 unrelated, negative opposed.${note} On the map, distances are those of the ${what}, as far as two axes can show them; the dashed line is the way from the base to the merge, one model's part after the other, or to the plain average. Choosing a pair shows it below.`,
      element("div", { class: "pictures" }, ...pictures),
      folded("Pairs", () => dataTable("Pairs", pairsTable(comparison))),
    );
  }

  #chooseModels(row: number, column: number): void {
    this.#choosePair(this.#order[row] ?? -1, this.#order[column] ?? -1);
  }

  #choosePoint(name: string | undefined): void {
    const index = this.#names.indexOf(name ?? "");
    this.#choosePair(index, index);
  }

  /** Two models, or one and the base, where the comparison has measures of them. */
  #choosePair(a: number, b: number, change: Partial<Choice> = {}): void {
    const [first, second] = [Math.min(a, b), Math.max(a, b)];
    const id = first === second || first < 0 ? `model-${second}` : `pair-${first}-${second}`;
    const subject = this.#subjects.find((other) => other.id === id);
    if (subject !== undefined) this.#choose({ ...change, subject: subject.id });
  }

  #layerSection(): HTMLElement {
    const map = () => {
      const [subject, measure] = [this.#chosenSubject, this.#chosenMeasure];
      return subject === undefined || measure === undefined ? NO_MEASURES : layerHeatmap(this.#comparison, subject, measure, this.#choice.cells);
    };
    const hasConflict = this.#subjects.some(({ measures }) => measures.some(({ id }) => id === "conflict"));
    const figure = heatmapFigure({
      name: "layers",
      caption: "Layers by roles",
      widest: 760,
      map,
      data: () => ({ subject: this.#chosenSubject?.name, measure: this.#chosenMeasure?.title, columns: map().columns, rows: map().rows }),
      choose: (row, column, add) => this.#chooseCell(row, column, add),
    });
    return section(
      hasConflict ? "Where do they conflict?" : "Where do they differ?",
      hasConflict
        ? "Sign conflict is, of the elements that both models changed, the percentage changed in opposite directions; unrelated changes have about 50. Colour runs over the values on the map. Choose a cell to look into it, with Shift several."
        : "Colour runs over the values on the map. Choose a cell to look into it, with Shift several.",
      this.#add(figure),
      this.#recipeBar.element,
    );
  }

  #chooseCell(row: number, column: number, add: boolean): void {
    const cell = cellAt(this.#comparison, row, column);
    if (cell !== undefined) this.#toggle(cell, add);
  }

  /** Chooses a cell alone or beside others, or no longer. */
  #toggle(cell: Cell, add: boolean): void {
    const { cells } = this.#choice;
    const without = cells.filter((other) => !isSame(other, cell));
    const alone = cells.length === 1 && without.length === 0;
    this.#choose({ cells: add ? (without.length < cells.length ? without : [...cells, cell]) : alone ? [] : [cell], tensor: undefined });
  }

  get #level() {
    return levelsOf(this.#comparison, this.#choice.cells, this.#choice.tensor).at(-1);
  }

  #drillSection(): HTMLElement {
    const columns = () => signColumns(this.#level?.name ?? "", this.#level?.group ?? this.#comparison.total);
    const hasSigns = this.#comparison.total.signCounts !== undefined;
    const figure = chartFigure({
      name: "signed-agreement",
      caption: "Signed agreement",
      widest: 640,
      draw: (width) => drawColumns(columns(), { width }),
      table: () => columnsTable(columns()),
      data: columns,
      cursor: { marks: ".column-mark", label: "Signed agreement" },
    });
    return section(
      hasSigns ? "How do they pull?" : "Which tensors?",
      hasSigns
        ? "Elements by how many models raise them minus how many lower them: far to the sides all agree, in the middle they cancel out or nobody moved. Heights are square roots of counts."
        : "The tensors of the choice, by the chosen measure.",
      this.#levels,
      ...(hasSigns ? [this.#add(figure)] : []),
      this.#tensors,
      this.#spectra.element,
    );
  }

  #updateLevels(): void {
    const levels = levelsOf(this.#comparison, this.#choice.cells, this.#choice.tensor);
    const back: readonly Partial<Choice>[] = levels.map((level, i) => {
      if (i === 0) return { cells: [], tensor: undefined };
      const [cell] = this.#choice.cells;
      return level.name.startsWith("layer ") && cell !== undefined ? { cells: [{ layer: cell.layer }], tensor: undefined } : { tensor: undefined };
    });
    this.#levels.replaceChildren(
      ...levels.map(({ name }, i) =>
        i === levels.length - 1 ? element("b", { "aria-current": "true" }, name) : button(`${name} ›`, () => this.#choose(back[i] ?? {}), { class: "link" }),
      ),
    );
  }

  #updateTensors(): void {
    const measure = this.#chosenMeasure;
    if (measure === undefined) {
      this.#tensors.replaceChildren();
      return;
    }
    const { table, names } = tensorsTable(tensorsIn(this.#comparison, this.#choice.cells), measure);
    const shown = names.slice(0, LISTED);
    const caption = shown.length < names.length ? `The first ${shown.length} of ${names.length} tensors` : `${names.length} tensors`;
    const rows = shown.map((name, i) => {
      const pick = button("", () => this.#choose({ tensor: name === this.#choice.tensor ? undefined : name }), {
        class: "link",
        "aria-pressed": String(name === this.#choice.tensor),
      });
      pick.append(...breakable(name));
      return element("tr", {}, element("td", {}, pick), ...(table.rows[i] ?? []).slice(1).map((text) => element("td", { class: "number" }, text)));
    });
    const header = table.header.map((text, i) => element("th", i === 0 ? {} : { class: "number" }, text));
    const scrolled = this.#tensors.scrollTop;
    this.#tensors.replaceChildren(
      element("table", {}, element("caption", {}, caption), element("thead", {}, element("tr", {}, ...header)), element("tbody", {}, ...rows)),
    );
    this.#tensors.scrollTop = scrolled;
  }

  #updateRecipeBar(): void {
    const { cells, tensor } = this.#choice;
    const chosen = cells.length === 0 ? [] : tensorsIn(this.#comparison, cells).map(({ name }) => name);
    this.#recipeBar.show(tensor === undefined ? chosen : [tensor]);
  }

  #roleSection(): HTMLElement {
    const chosenRoles = () => this.#choice.cells.flatMap(({ layer, role }) => (layer === undefined && role !== undefined ? [role] : []));
    const bars = roleBars(this.#comparison);
    const rows = bars.bars.map(({ name, value }) => [name, Number.isNaN(value) ? "–" : (100 * value).toFixed(1)]);
    const figure = chartFigure({
      name: "roles",
      caption: "Conflict by role, in percent",
      widest: 640,
      draw: (width) => drawBars(roleBars(this.#comparison, chosenRoles()), { width }),
      table: () => ({ header: ["role", "conflict"], rows }),
      data: () => bars.bars,
      cursor: { marks: ".bar-row", label: "Conflict by role", choose: (row, _, add) => this.#toggle({ role: bars.bars[row]?.name ?? "" }, add) },
    });
    const text = "Sign conflict over all layers and pairs, in percent. Choose a role to see it in every layer above.";
    return section("Which parts conflict most?", text, this.#add(figure));
  }

  #activationSection(): HTMLElement {
    const isChosen = (layer: string, { a, b }: { a: number; b: number }) =>
      [a, b].filter((model) => model >= 0).join() === this.#chosenModels.join() && this.#choice.cells.some((cell) => cell.layer === layer);
    const map = activationHeatmap(this.#comparison, isChosen);
    const { layers = [] } = this.#comparison.activations ?? {};
    const figure = heatmapFigure({
      name: "activations",
      caption: map.label,
      widest: 760,
      map: () => map,
      table: () => activationTable(this.#comparison),
      data: () => this.#comparison.activations,
      choose: (row, column) => this.#chooseOutput(layers[row], column),
    });
    return section(
      "Do their layers put out the same?",
      `Debiased linear CKA on ${this.#comparison.activations?.positions ?? 0} token positions: 1 where one output is a rotation and scaling of the other, about 0 for unrelated ones. Choosing a cell shows its pair and its layer above.`,
      this.#add(figure),
    );
  }

  #chooseOutput(layer: { readonly name: string; readonly pairs: readonly ActivationPair[] } | undefined, column: number): void {
    const pair = layer?.pairs[column];
    if (layer === undefined || pair === undefined) return;
    const isLayer = this.#comparison.layers.some(({ name }) => name === layer.name);
    this.#choosePair(pair.a, pair.b, isLayer ? { cells: [{ layer: layer.name }], tensor: undefined } : {});
  }

  #changeSection(): HTMLElement {
    const { base, density } = this.#comparison;
    const kept = `${Number((100 * density).toPrecision(4))}\u00a0%`;
    const text =
      base === undefined
        ? "Length of the weights."
        : `Size and spread of each change; “norm kept” and “dropped by sign” are what a trim to ${kept} of each tensor keeps, and what the sign election would then drop.`;
    return section("How large are the changes?", text, dataTable("Models", modelsTable(this.#comparison)));
  }

  #notes(): HTMLElement {
    const { explanations, skipped, spectraSkipped = [] } = this.#comparison;
    const list = explanations.map(({ measure, meaning, source }) =>
      element("li", {}, element("b", {}, measure), `: ${meaning} `, ...(source === undefined ? [] : [element("a", { href: source.url }, source.title)])),
    );
    const listed = (items: typeof skipped) => element("ul", {}, ...items.map(({ name, reason }) => element("li", {}, `${name}: ${reason}`)));
    return section(
      "What do the measures mean?",
      "None of them says how good a merge will be; only an evaluation does.",
      element("ul", {}, ...list),
      ...(skipped.length === 0 ? [] : [element("h3", {}, "Tensors left out"), listed(skipped)]),
      ...(spectraSkipped.length === 0 ? [] : [folded(`Tensors without spectra (${spectraSkipped.length})`, () => listed(spectraSkipped))]),
    );
  }
}

/** The comparison in a sentence. */
export function headline({ total, tensors, models, base }: Comparison): string {
  const against = base === undefined ? "" : ` against ${base}`;
  const conflict = typeof total.conflict === "number" ? `, ${(100 * total.conflict).toFixed(1)} % sign conflict` : "";
  return `${models.length} ${models.length === 1 ? "model" : "models"}${against}: ${tensors.length} tensors, ${total.elements.toLocaleString("en")} elements${conflict}.`;
}
