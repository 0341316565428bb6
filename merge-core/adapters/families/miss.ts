// MiSS (Kang and Yin, 2024), first called Bone: one small block repeated over the weight.

import type { Algebra } from "../algebra/algebra.ts";
import {
  type AdapterFamily,
  type AdapterModule,
  type LayerShape,
  type LowRank,
  numberOf,
  type RowChange,
  type Settings,
  tensorOf,
  trained,
} from "../family.ts";
import { type Part, part } from "../family-math.ts";
import { tensor as tensorOfValues } from "../family-training.ts";

const PAPER = {
  title: "MiSS: Revisiting the Trade-off in LoRA with an Efficient Shard-Sharing Structure",
  year: 2024,
  url: "https://arxiv.org/abs/2409.15371",
};

export const miss = blockFamily("MISS", "MiSS", "miss_block", [
  { name: "mini_r", default: 1, count: true, doc: "outputs after which the block of the variant mini repeats" },
]);
/** The same under its old name, written by PEFT 0.14 to 0.18. */
export const bone = blockFamily("BONE", "Bone", "bone_block", []);

function blockFamily(type: string, title: string, tensor: string, more: AdapterFamily["settings"]): AdapterFamily {
  const family: AdapterFamily = {
    type,
    title,
    paper: PAPER,
    formula: "W[o, i] + block[i mod r, o]; mini: the block repeats along outputs too; bat: W_IJ + W_IJ block_I + block_I for each r x r part of W",
    settings: [
      { name: "r", default: 64, count: true, doc: "side of the block" },
      { name: "init_weights", default: null, doc: "bat and mini choose those variants" },
      ...more,
    ],
    tensors: trained(tensor),
    shared: [],
    needsBase: true,
    foldable: "exact",
    shapes: (layer, settings) => ({ [tensor]: blockShape(layer, settings) }),
    math: {
      isLowRank: ({ init_weights: variant }) => variant !== "bat",
      lowRank: (m, p) => blockFactors(m, p, tensor),
      weight: (m, p, weight) => affineWeight(m, part(p, tensor), weight),
    },
    training: {
      start({ layer, settings }) {
        const shape = blockShape(layer, settings);
        return { [tensor]: tensorOfValues(new Float32Array(shape.reduce((size, n) => size * n, 1)), ...shape) };
      },
    },
    open: (module) => (module.settings.init_weights === "bat" ? affine(module, tensor) : repeated(module, tensor)),
  };
  return { ...family, factors: (module) => factors(module, tensor) };
}

function blockShape({ outFeatures }: LayerShape, settings: Settings): number[] {
  const r = numberOf(settings, "r");
  if (settings.init_weights === "bat") return [outFeatures / r, r, r];
  return [r, settings.init_weights === "mini" ? numberOf(settings, "mini_r") : outFeatures];
}

function repeated(module: AdapterModule, name: string): RowChange {
  const { shape, values } = tensorOf(module, name);
  const [r = 0, width = 0] = shape;
  return (row, o) => {
    for (let i = 0; i < row.length; i++) row[i] = (row[i] as number) + (values[(i % r) * width + (o % width)] as number);
  };
}

function affine(module: AdapterModule, name: string): RowChange {
  const { shape, values } = tensorOf(module, name);
  const r = shape.at(-1) ?? 0;
  return (row, o) => {
    const block = Math.floor(o / r) * r * r;
    const before = row.slice();
    for (let i = 0; i < row.length; i++) {
      const column = i % r;
      let sum = values[block + (o % r) * r + column] as number;
      for (let k = 0; k < r; k++) sum += (before[i - column + k] as number) * (values[block + k * r + column] as number);
      row[i] = (row[i] as number) + sum;
    }
  };
}

/** A picks the inputs whose place is k modulo r. @throws TypeError for the variant bat, which depends on W */
function factors(module: AdapterModule, name: string): LowRank {
  const { shape, values } = tensorOf(module, name);
  if (shape.length !== 2) throw new TypeError("the variant bat has no factors");
  const [r = 0, width = 0] = shape;
  const { inFeatures, outFeatures } = module.layer;
  const a = Float64Array.from({ length: r * inFeatures }, (_, at) => ((at % inFeatures) % r === Math.floor(at / inFeatures) ? 1 : 0));
  const b = Float64Array.from({ length: outFeatures * r }, (_, at) => values[(at % r) * width + (Math.floor(at / r) % width)] as number);
  return { ...module.layer, r, a, b, scale: 1 };
}

function blockFactors<T>(m: Algebra<T>, p: Part<T>, name: string): { a: T; b: T; scale: number } {
  const block = part(p, name);
  const [r = 0, width = 0] = m.shapeOf(block);
  const { inFeatures, outFeatures } = p.layer;
  const picks = Float32Array.from({ length: r * inFeatures }, (_, at) => ((at % inFeatures) % r === Math.floor(at / inFeatures) ? 1 : 0));
  const columns = m.transpose(block, [1, 0]);
  const repeat = Int32Array.from({ length: outFeatures }, (_, o) => o % width);
  return { a: m.constant(picks, [r, inFeatures]), b: width === outFeatures ? columns : m.rows(columns, repeat), scale: 1 };
}

/** W_IJ + W_IJ block_I + block_I. */
function affineWeight<T>(m: Algebra<T>, blocks: T, weight: T): T {
  const [[n = 0, r = 0], [out = 0, inputs = 0]] = [m.shapeOf(blocks), m.shapeOf(weight)];
  const turned = m.reshape(m.matMul(m.reshape(weight, [n, (r * inputs) / r, r]), blocks), [n, r, inputs / r, r]);
  return m.add(weight, m.reshape(m.add(turned, m.reshape(blocks, [n, r, 1, r])), [out, inputs]));
}
