// Spectra and subspaces of the chosen tensor: those that the comparison holds, or measured when they are asked for.
import type { Comparison, TensorSpectra } from "../../merge-core/analysis/comparison.ts";
import { drawCurves } from "../charts/curves.ts";
import { button, chartFigure } from "../common/chart-figure.ts";
import { element } from "../common/dom.ts";
import { messageOf } from "../common/problem.ts";
import { dataTable } from "../common/table.ts";
import { spectraCurves, spectraTable, subspaceTable } from "./view.ts";

export type MeasureSpectra = (tensor: string) => Promise<TensorSpectra>;

/** Models are chosen here as in the other pictures. */
export interface ModelChoice {
  chosen(): readonly number[];
  choose(model: number): void;
}

/** A button that has the subspaces of all matrices measured: that takes a decomposition of each, and so is not done unasked. */
export function subspaceOffer(measure: (() => Promise<unknown>) | undefined): HTMLElement[] {
  if (measure === undefined) return [];
  const said = element("span", { role: "status" });
  const start = () => {
    said.textContent = "Measuring…";
    measure().catch((error: unknown) => {
      said.textContent = messageOf(error);
    });
  };
  return [button("Measure Subspaces", start), said];
}

export class SpectraPanel {
  readonly element = element("div");
  readonly #comparison: Comparison;
  readonly #choice: ModelChoice;
  readonly #measure: MeasureSpectra | undefined;
  readonly #measured = new Map<string, TensorSpectra>();
  #tensor: string | undefined;

  constructor(comparison: Comparison, choice: ModelChoice, measure?: MeasureSpectra) {
    this.#comparison = comparison;
    this.#choice = choice;
    this.#measure = measure;
  }

  show(tensor: string | undefined): void {
    this.#tensor = tensor;
    const spectra = this.#measured.get(tensor ?? "") ?? this.#comparison.spectra?.find((found) => found.tensor === tensor);
    this.element.replaceChildren(...(spectra === undefined ? this.#offer(tensor) : this.#figures(spectra)));
  }

  #figures(spectra: TensorSpectra): HTMLElement[] {
    const { models } = this.#comparison;
    const figure = chartFigure({
      name: "spectrum",
      caption: `Ranks of ${spectra.tensor}`,
      widest: 640,
      draw: (width) => drawCurves(spectraCurves(spectra, models, this.#choice.chosen()), { width }),
      table: () => spectraTable(spectra, models),
      data: () => spectra,
      cursor: { marks: ".curve-group", label: "Singular values", choose: (model) => this.#choice.choose(model) },
    });
    const pairs = subspaceTable(spectra, models);
    return [
      element("h3", {}, "Singular values"),
      figure.element,
      dataTable("Ranks", spectraTable(spectra, models)),
      ...(pairs.rows.length === 0 ? [] : [element("h3", {}, "Subspaces of the changes"), dataTable("Alignment, and principal angles in degrees", pairs)]),
    ];
  }

  /** A button that has the chosen matrix measured, where there is somebody to do it. */
  #offer(tensor: string | undefined): HTMLElement[] {
    const measure = this.#measure;
    const shape = this.#comparison.tensors.find(({ name }) => name === tensor)?.shape;
    if (measure === undefined || tensor === undefined || shape?.length !== 2) return [];
    const said = element("span", { role: "status" });
    const start = async () => {
      said.textContent = "Measuring…";
      try {
        this.#measured.set(tensor, await measure(tensor));
        if (this.#tensor === tensor) this.show(tensor);
      } catch (error) {
        said.textContent = messageOf(error);
      }
    };
    return [
      element(
        "p",
        { class: "toolbar" },
        button("Measure Singular Values", () => void start()),
        said,
      ),
    ];
  }
}
