// What is known of the chosen point, and what can be done with a setting of the coefficients: see its recipe, write it, measure it.
import type { FrontFile, FrontPoint } from "../../merge-core/pareto/front-file.ts";
import { button } from "../common/chart-figure.ts";
import { element } from "../common/dom.ts";
import { messageOf } from "../common/problem.ts";
import { describePoint, nameOf } from "./model.ts";

/** What only the host can do with a setting of the coefficients. */
export interface ParetoTools {
  recipeAt(coefficients: readonly number[]): Promise<string>;
  writeMerge(coefficients: readonly number[]): Promise<string | undefined>;
  evaluate(coefficients: readonly number[]): Promise<undefined>;
}

/** How long a point stays chosen before its recipe is asked for: arrow keys run over many. */
const REST_MS = 150;

export class PointPanel {
  readonly element = element("section", { class: "point-facts", "aria-label": "Chosen point", "aria-live": "polite" });
  /** What came of the last action. */
  readonly said = element("p", { role: "status" });
  readonly #tools: ParetoTools | undefined;
  readonly #recipes = new Map<string, Promise<string>>();
  #asking = 0;

  constructor(tools: ParetoTools | undefined) {
    this.#tools = tools;
  }

  show(file: FrontFile, point: FrontPoint | undefined): void {
    if (point === undefined) {
      const can = this.#tools === undefined ? "see its numbers." : "see its recipe, write it as a model, or measure it.";
      this.element.replaceChildren(element("p", { class: "soft" }, `Choose a point to ${can}`));
      return;
    }
    this.element.replaceChildren(element("h3", {}, nameOf(point)), element("p", {}, describePoint(file, point)));
    if (point.coefficients === undefined || this.#tools === undefined) return;
    const recipe = element("pre", { tabindex: 0 });
    this.element.append(this.actions(point.coefficients, !point.evaluated), element("details", { open: "" }, element("summary", {}, "Recipe"), recipe));
    this.#showRecipe(point.coefficients, recipe);
  }

  /** Buttons that write a setting as a model and measure it. */
  actions(coefficients: readonly number[], canEvaluate: boolean): HTMLElement {
    const tools = this.#tools;
    if (tools === undefined) return element("p");
    const act = (work: Promise<string | undefined>, done: (result: string | undefined) => string) =>
      void work.then((result) => this.said.replaceChildren(done(result))).catch((error: unknown) => this.said.replaceChildren(messageOf(error)));
    return element(
      "p",
      { class: "toolbar" },
      button("Write This Merge", () => act(tools.writeMerge(coefficients), (out) => (out === undefined ? "" : `Merging into ${out}.`)), { class: "primary" }),
      ...(canEvaluate ? [button("Evaluate This Point", () => act(tools.evaluate(coefficients), () => "Measuring; the point appears when it is done."))] : []),
    );
  }

  #showRecipe(coefficients: readonly number[], into: HTMLElement): void {
    const show = () =>
      void this.#recipeOf(coefficients)
        .then((text) => into.replaceChildren(text))
        .catch((error: unknown) => into.replaceChildren(messageOf(error)));
    clearTimeout(this.#asking);
    if (this.#recipes.has(coefficients.join())) show();
    else this.#asking = window.setTimeout(show, REST_MS);
  }

  /** Asked for once: the host starts a program to answer. */
  #recipeOf(coefficients: readonly number[]): Promise<string> {
    const key = coefficients.join();
    const known = this.#recipes.get(key) ?? this.#tools?.recipeAt(coefficients) ?? Promise.resolve("");
    this.#recipes.set(key, known);
    known.catch(() => this.#recipes.delete(key));
    return known;
  }
}
