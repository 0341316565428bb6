// Orthogonal fine-tuning (Qiu et al., 2023): inputs are rotated in blocks, each rotation made from a skew matrix Q.

import { type Algebra, cayley, rotateBlocks, skew as skewOf, identity as unitOf } from "../algebra/algebra.ts";
import { type AdapterFamily, type AdapterModule, numberOf, type Settings, suffixed, tensorOf, trained } from "../family.ts";
import { part } from "../family-math.ts";
import { zeros } from "../family-training.ts";

export const oft: AdapterFamily = {
  type: "OFT",
  title: "OFT",
  paper: { title: "Controlling Text-to-Image Diffusion by Orthogonal Finetuning", year: 2023, url: "https://arxiv.org/abs/2306.07280" },
  formula: "W blockdiag(R)^T, R = (I - Q)(I + Q)^-1; use_cayley_neumann: R = I + 2 Q + 2 Q^2 + ... + Q^(terms - 1), of the inverse",
  settings: [
    { name: "block_share", default: false, doc: "one rotation for all blocks" },
    { name: "coft", default: false, doc: "Q is kept within a ball" },
    { name: "eps", default: 6e-5, doc: "radius of that ball" },
    { name: "use_cayley_neumann", default: true, doc: "a series in place of the inverse" },
    { name: "num_cayley_neumann_terms", default: 5, count: true, doc: "terms of the series" },
  ],
  tensors: suffixed(trained("oft_R")),
  shared: [],
  needsBase: true,
  foldable: "exact",
  neutral: { oft_R: 0 },
  // r and oft_block_size are adjusted to the layer when the adapter is made; the stored size of Q is what holds.
  shapes({ inFeatures }, settings, { oft_R }) {
    const count = oft_R?.[1] ?? 0;
    return { oft_R: [settings.block_share === true ? 1 : inFeatures / blockSide(count), count] };
  },
  open(module) {
    const rotations = rotationsOf(module);
    const b = blockSide(tensorOf(module, "oft_R").shape[1] ?? 0);
    return (row) => {
      const before = row.slice();
      for (let i = 0; i < row.length; i++) {
        const block = Math.floor(i / b);
        const r = rotations[rotations.length === 1 ? 0 : block] as Float64Array;
        let sum = 0;
        for (let j = 0; j < b; j++) sum += (r[(i % b) * b + j] as number) * (before[block * b + j] as number);
        row[i] = sum;
      }
    };
  },
  math: {
    weight(m, p, weight) {
      const [blocks = 0, count = 0] = m.shapeOf(part(p, "oft_R"));
      const b = blockSide(count);
      const entries = p.settings.coft === true ? withinBall(m, part(p, "oft_R"), radiusOf(p.settings, blocks)) : part(p, "oft_R");
      const q = skewOf(m, entries, b);
      const r = p.settings.use_cayley_neumann === true ? neumannOf(m, q, numberOf(p.settings, "num_cayley_neumann_terms")) : cayley(m, q);
      const all = p.layer.inFeatures / b;
      return rotateBlocks(m, weight, blocks === all ? r : m.rows(r, new Int32Array(all)));
    },
  },
  training: {
    settings: [{ name: "oft_block_size", default: 32, divides: "inputs", doc: "side of a block; divides the inputs of every layer" }],
    start({ layer, settings }) {
      const b = numberOf(settings, "oft_block_size");
      return { oft_R: zeros(settings.block_share === true ? 1 : layer.inFeatures / b, (b * (b - 1)) / 2) };
    },
    // Constrained: what a step moves out of the ball is put back onto it.
    afterStep(modules) {
      for (const { settings, tensors } of modules) if (settings.coft === true) project(tensors.oft_R as Float32Array, settings);
    },
    // PEFT before 0.18 summed the series otherwise, and files that do not name a version are taken for such.
    fileConfig: ({ oft_block_size }) => ({ r: 0, oft_block_size, peft_version: "0.18.0" }),
  },
};

/** R of each block [b, b], or of all. */
export function rotationsOf(module: AdapterModule): Float64Array[] {
  const { shape, values } = tensorOf(module, "oft_R");
  const [blocks = 0, count = 0] = shape;
  const b = blockSide(count);
  return Array.from({ length: blocks }, (_, k) => rotation(skew(values, k * count, b, module, blocks), b, module.settings));
}

/** b of b (b - 1) / 2 entries. */
export const blockSide = (count: number): number => (1 + Math.sqrt(1 + 8 * count)) / 2;

/** Q from its entries above the diagonal. */
function skew(values: ArrayLike<number>, first: number, b: number, { settings }: AdapterModule, blocks: number): Float64Array {
  const q = new Float64Array(b * b);
  let at = first;
  for (let i = 0; i < b; i++)
    for (let j = i + 1; j < b; j++) {
      q[i * b + j] = values[at] as number;
      q[j * b + i] = -(values[at++] as number);
    }
  const norm = Math.sqrt(q.reduce((sum, x) => sum + x * x, 0));
  const radius = radiusOf(settings, blocks);
  return settings.coft === true && norm > radius ? q.map((x) => (x * radius) / norm) : q;
}

/** Of the ball that the Frobenius norm of each constrained Q stays in. */
const radiusOf = (settings: Settings, blocks: number): number => numberOf(settings, "eps") / Math.sqrt(blocks);

/** Entries above the diagonal [blocks, count], those of blocks with a larger norm scaled down to it. Each stands twice in its Q. */
function withinBall<T>(m: Algebra<T>, entries: T, radius: number): T {
  const squares = m.scale(m.sum(m.mul(entries, entries), 1), 2);
  const inside = m.constant(
    Float32Array.from(m.valuesOf(squares), (square) => (Math.sqrt(square) <= radius ? 1 : 0)),
    m.shapeOf(squares),
  );
  const outside = m.sub(m.constant([1], [1, 1]), inside);
  // One in place of norms that are not divided by, which may be zero.
  const norms = m.sqrt(m.add(m.mul(squares, outside), inside));
  return m.mul(entries, m.add(inside, m.div(m.scale(outside, radius), norms)));
}

function project(entries: Float32Array, settings: Settings): void {
  const b = numberOf(settings, "oft_block_size");
  const count = (b * (b - 1)) / 2;
  const radius = radiusOf(settings, entries.length / count);
  for (let first = 0; first < entries.length; first += count) {
    const block = entries.subarray(first, first + count);
    const norm = Math.sqrt(2 * block.reduce((sum, x) => sum + x * x, 0));
    if (norm > radius) block.set(block.map((x) => (x * radius) / norm));
  }
}

/** R of a block's Q [b, b]; the exact one unless settings say otherwise. */
export function rotation(q: Float64Array, b: number, settings: Settings = {}): Float64Array {
  return settings.use_cayley_neumann === true ? neumann(q, b, numberOf(settings, "num_cayley_neumann_terms")) : cayleyOf(q, b);
}

export const identityOf = (b: number): Float64Array => Float64Array.from({ length: b * b }, (_, i) => (i % (b + 1) === 0 ? 1 : 0));

/** I + 2 Q + ... + 2 Q^(n-2) + Q^(n-1); PEFT leaves the single Q^2 of three terms and the Q of two doubled. */
function neumann(q: Float64Array, b: number, terms: number): Float64Array {
  const sum = identityOf(b);
  const add = (x: Float64Array, factor: number) => {
    for (const [i, value] of x.entries()) sum[i] = (sum[i] as number) + factor * value;
  };
  if (terms > 1) add(q, 2);
  if (terms <= 2) return sum;
  let power = multiply(q, q, b);
  add(power, 2);
  for (let k = 3; k < terms - 1; k++) {
    power = multiply(power, q, b);
    add(power, 2);
  }
  add(multiply(power, q, b), 1);
  return sum;
}

/** (I - Q)(I + Q)^-1 = 2 (I + Q)^-1 - I, by Gauss-Jordan elimination; I + Q has no zero pivot that exchange of rows could not avoid. */
export function cayleyOf(q: Float64Array, b: number): Float64Array {
  const inverse = identityOf(b);
  const left = identityOf(b).map((x, i) => x + (q[i] as number));
  for (let column = 0; column < b; column++) {
    let pivot = column;
    for (let row = column; row < b; row++) if (Math.abs(left[row * b + column] as number) > Math.abs(left[pivot * b + column] as number)) pivot = row;
    for (const m of [left, inverse]) exchange(m, b, pivot, column);
    const divisor = left[column * b + column] as number;
    for (const m of [left, inverse]) for (let j = 0; j < b; j++) m[column * b + j] = (m[column * b + j] as number) / divisor;
    for (let row = 0; row < b; row++) {
      const factor = row === column ? 0 : (left[row * b + column] as number);
      for (const m of [left, inverse]) for (let j = 0; j < b; j++) m[row * b + j] = (m[row * b + j] as number) - factor * (m[column * b + j] as number);
    }
  }
  const unit = identityOf(b);
  return inverse.map((x, i) => 2 * x - (unit[i] as number));
}

function exchange(m: Float64Array, b: number, x: number, y: number): void {
  for (let j = 0; j < b; j++) [m[x * b + j], m[y * b + j]] = [m[y * b + j] as number, m[x * b + j] as number];
}

export function multiply(x: Float64Array, y: Float64Array, b: number): Float64Array {
  const product = new Float64Array(b * b);
  for (let i = 0; i < b; i++)
    for (let k = 0; k < b; k++)
      for (let j = 0; j < b; j++) product[i * b + j] = (product[i * b + j] as number) + (x[i * b + k] as number) * (y[k * b + j] as number);
  return product;
}

/** The series in any algebra, of Q [..., b, b]. */
export function neumannOf<T>(m: Algebra<T>, q: T, terms: number): T {
  const b = m.shapeOf(q).at(-1) ?? 0;
  let sum = m.add(m.scale(q, terms > 1 ? 2 : 0), unitOf(m, b));
  if (terms <= 2) return sum;
  let power = m.matMul(q, q);
  sum = m.add(sum, m.scale(power, 2));
  for (let k = 3; k < terms - 1; k++) {
    power = m.matMul(power, q);
    sum = m.add(sum, m.scale(power, 2));
  }
  return m.add(sum, m.matMul(power, q));
}
