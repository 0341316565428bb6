// What a choice of tensors can do to a recipe: leave them out of the merge, or merge them by another method.
import { button } from "../common/chart-figure.ts";
import { element } from "../common/dom.ts";
import { messageOf } from "../common/problem.ts";
import type { RecipeChange } from "../protocol.ts";
import { patternsFor } from "./tensor-names.ts";

/** What only an editor can do with a choice. */
export interface RecipeTools {
  readonly methods: readonly string[] | Promise<readonly string[]>;
  /** Gives the name of the recipe that was changed. */
  change(change: RecipeChange): Promise<string | undefined>;
}

export class RecipeBar {
  readonly element = element("p", { class: "toolbar" });
  readonly #said = element("span", { role: "status" });
  readonly #method = element("select", { "aria-label": "Merge method" });
  readonly #tools: RecipeTools | undefined;
  /** Names of all tensors, which patterns have to tell apart. */
  readonly #all: readonly string[];

  constructor(all: readonly string[], tools?: RecipeTools) {
    this.#all = all;
    this.#tools = tools;
    const list = (methods: readonly string[]) => this.#method.append(...methods.map((id) => element("option", { value: id }, id)));
    // Where nobody answers, tensors can still be excluded.
    Promise.resolve(tools?.methods ?? []).then(list, () => this.#method.remove());
  }

  show(chosen: readonly string[]): void {
    const tools = this.#tools;
    if (tools === undefined) return;
    const off: Readonly<Record<string, string>> = chosen.length === 0 ? { disabled: "" } : {};
    this.#method.disabled = chosen.length === 0;
    this.element.replaceChildren(
      element("span", { class: "soft" }, describe(chosen.length)),
      button("Exclude From Merge", () => void this.#change(tools, chosen), off),
      button("Use Method", () => void this.#change(tools, chosen, this.#method.value), off),
      this.#method,
      this.#said,
    );
  }

  async #change(tools: RecipeTools, chosen: readonly string[], method?: string): Promise<void> {
    try {
      const recipe = await tools.change({ patterns: patternsFor(chosen, this.#all), ...(method === undefined ? {} : { method }) });
      this.#said.textContent = recipe === undefined ? "" : `Written into ${recipe}.`;
    } catch (error) {
      this.#said.textContent = messageOf(error);
    }
  }
}

const describe = (chosen: number): string =>
  chosen === 0 ? "Choose cells to change their treatment in a recipe." : chosen === 1 ? "1 tensor chosen:" : `${chosen} tensors chosen:`;
