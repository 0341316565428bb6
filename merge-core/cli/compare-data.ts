// The part of compare that runs the models: alignment of their layers' activations on data.
import { centredGram, debiasedCka, linearCka } from "../analysis/cka.ts";
import type { ActivationMeasures, Comparison, Explanation } from "../analysis/comparison.ts";
import { pairsOf } from "../analysis/sums.ts";
import type { ActivationOptions } from "../evaluate/activations.ts";
import { number, numericTable } from "./numeric-table.ts";

const CKA = { title: "Similarity of Neural Network Representations Revisited", url: "https://arxiv.org/abs/1905.00414" };
const DEBIASED = { title: "Do Wide and Deep Networks Learn the Same Things?", url: "https://arxiv.org/abs/2010.15327" };

export const ACTIVATION_EXPLANATIONS: readonly Explanation[] = [
  {
    measure: "CKA",
    meaning:
      "Linear centred kernel alignment of what two models' layers put out on the same tokens: 1 where one is a rotation and scaling of the other. It is biased upwards where positions are few beside the width.",
    source: CKA,
  },
  { measure: "CKA, debiased", meaning: "The same by the unbiased HSIC estimator: about 0 for unrelated layers however few the positions.", source: DEBIASED },
];

/** Runs all models on the data. @throws WeightsmithError as `layerActivations` does */
export async function measureActivations(
  base: string | undefined,
  models: readonly string[],
  data: readonly string[],
  options: ActivationOptions,
): Promise<ActivationMeasures> {
  const { layerActivations } = await import("../evaluate/activations.ts");
  const all = base === undefined ? models : [base, ...models];
  const { layers, positions, values } = await layerActivations(all, data, options);
  const shift = base === undefined ? 0 : 1;
  return {
    data,
    positions,
    layers: layers.map((name, layer) => {
      const grams = values.map((byLayer) => centredGram(byLayer[layer] as Float32Array, positions));
      const pairs = pairsOf(all.length).map(([i, j]) => {
        const [k, l] = [grams[i] as Float64Array, grams[j] as Float64Array];
        return { a: i - shift, b: j - shift, cka: linearCka(k, l), ckaDebiased: debiasedCka(k, l) };
      });
      return { name, pairs };
    }),
  };
}

/** A row for each layer, a column for each pair; text alone. */
export function activationSection({ activations }: Comparison, names: readonly string[]): string {
  if (activations === undefined) return "";
  const [first] = activations.layers;
  const nameOf = (index: number) => (index < 0 ? "base" : (names[index] ?? ""));
  const table = numericTable(
    ["layer", ...(first?.pairs ?? []).map(({ a, b }) => `${nameOf(a)} ${nameOf(b)}`)],
    activations.layers.map(({ name, pairs }) => [name, ...pairs.map(({ cka, ckaDebiased }) => `${number(cka, 3)} (${number(ckaDebiased, 3)})`)]),
  );
  return `Activations on ${activations.positions} token positions: CKA (debiased)\n${table}`;
}
