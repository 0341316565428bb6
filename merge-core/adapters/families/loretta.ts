// LoRETTA (Yang et al., 2024), the variant that adapts weights: both factors of a LoRA are tensor trains.

import type { Algebra } from "../algebra/algebra.ts";
import { defineFamily } from "../define-family.ts";
import { ALPHA, type LayerShape, nativeType, numberOf, RANK, trained } from "../family.ts";
import { type Part, part } from "../family-math.ts";
import { type Site, tensor } from "../family-training.ts";

export const loretta = defineFamily({
  type: nativeType("loretta"),
  title: "LoRETTA",
  paper: {
    title: "LoRETTA: Low-Rank Economic Tensor-Train Adaptation for Ultra-Low-Parameter Fine-Tuning of Large Language Models",
    year: 2024,
    url: "https://arxiv.org/abs/2402.11417",
  },
  formula: "W + (alpha / r) B A, both factors contracted from tensor trains of rank tensor_rank",
  settings: [RANK, ALPHA, { name: "tensor_rank", default: 5, count: true, doc: "inner sides of the trains' cores" }],
  tensors: trained("loretta_A", "loretta_B"),
  shared: [],
  needsBase: false,
  foldable: "exact",
  shapes({ inFeatures, outFeatures }, settings) {
    const count = (width: number) => [coresOf(numberOf(settings, "r"), width, numberOf(settings, "tensor_rank")).reduce((sum, core) => sum + sizeOf(core), 0)];
    return { loretta_A: count(inFeatures), loretta_B: count(outFeatures) };
  },
  math: {
    lowRank(m, p) {
      const r = numberOf(p.settings, "r");
      const a = m.reshape(contract(m, p, "loretta_A", p.layer.inFeatures), [r, p.layer.inFeatures]);
      const b = m.reshape(contract(m, p, "loretta_B", p.layer.outFeatures), [p.layer.outFeatures, r]);
      return { a, b, scale: numberOf(p.settings, "lora_alpha") / r };
    },
  },
  training: {
    start: (site) => ({ loretta_A: startTrain(site, "loretta_A", site.layer.inFeatures), loretta_B: startTrain(site, "loretta_B", site.layer.outFeatures) }),
  },
});

type Core = readonly [before: number, side: number, after: number];
const sizeOf = ([before, side, after]: Core): number => before * side * after;

/** The sides that the authors give for common shapes. */
const SIDES: Readonly<Record<string, readonly number[]>> = {
  "8,768": [8, 8, 12, 8],
  "8,1024": [4, 8, 8, 8, 4],
  "8,4096": [16, 16, 8, 4, 4],
  "16,768": [8, 16, 12, 8],
};

/** Sides whose product is r width: the authors', or prime factors gathered into groups of about eight. */
export function trainSides(r: number, width: number): readonly number[] {
  const known = SIDES[`${r},${width}`];
  if (known !== undefined) return known;
  const sides: number[] = [];
  let [rest, side] = [r * width, 1];
  for (let prime = 2; rest > 1; prime++)
    for (; rest % prime === 0; rest /= prime) {
      if (side > 1 && side * prime > 12) [side] = [1, sides.push(side)];
      side *= prime;
    }
  return side > 1 || sides.length === 0 ? [...sides, side] : sides;
}

function coresOf(r: number, width: number, rank: number): Core[] {
  const sides = trainSides(r, width);
  return sides.map((side, k) => [k === 0 ? 1 : rank, side, k === sides.length - 1 ? 1 : rank]);
}

/** All elements of the train in a row. */
function contract<T>(m: Algebra<T>, p: Part<T>, name: string, width: number): T {
  const values = part(p, name);
  const flat = m.reshape(values, [m.shapeOf(values)[0] ?? 0, 1]);
  let first = 0;
  let product: T | undefined;
  let rows = 1;
  for (const [before, side, after] of coresOf(numberOf(p.settings, "r"), width, numberOf(p.settings, "tensor_rank"))) {
    const from = first;
    const size = before * side * after;
    const core = m.reshape(
      m.rows(
        flat,
        Int32Array.from({ length: size }, (_, i) => from + i),
      ),
      [before, side * after],
    );
    product = product === undefined ? core : m.matMul(m.reshape(product, [rows, before]), core);
    rows *= side;
    first += size;
  }
  return product ?? flat;
}

/** Normal numbers of which each element of the contracted factor has variance about 1 / (in + out). */
function startTrain({ layer, settings, random }: Site, name: string, width: number) {
  const cores = coresOf(numberOf(settings, "r"), width, numberOf(settings, "tensor_rank"));
  const deviation = deviationOf(layer) ** (1 / cores.length);
  const values = cores.flatMap((core, k) => [...random.normal(`${name}/${k}`, sizeOf(core), deviation / Math.sqrt(core[2]))]);
  return tensor(Float32Array.from(values), values.length);
}

const deviationOf = ({ inFeatures, outFeatures }: LayerShape): number => Math.sqrt(1 / (inFeatures + outFeatures));
