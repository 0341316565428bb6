// BOFT (Liu et al., 2024): orthogonal fine-tuning whose rotation is a product of butterfly factors. Each factor rotates blocks of inputs
// that a fixed permutation has brought together; then outputs are scaled. Read as PEFT writes it.
import { type AdapterFamily, tensorOf, trained, valuesOf } from "../family.ts";
import { cayleyOf } from "./oft.ts";

export const boft: AdapterFamily = {
  type: "BOFT",
  title: "BOFT",
  paper: { title: "Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization", year: 2024, url: "https://arxiv.org/abs/2311.06243" },
  formula: "diag(s) W (F_m ... F_1)^T, F_i = P_i blockdiag(R_i) P_i^T, R = (I - Q)(I + Q)^-1, Q = (M - M^T) / 2",
  settings: [],
  tensors: trained("boft_R", "boft_s"),
  shared: [],
  needsBase: true,
  foldable: "exact",
  // Size and number of blocks are adjusted to the layer when the adapter is made; what is stored is what holds.
  shapes({ inFeatures, outFeatures }, _, { boft_R }) {
    const [factors = 1, , b = 4] = boft_R ?? [];
    return { boft_R: [fits(inFeatures, b, factors) ? factors : 1, inFeatures / b, b, b], boft_s: [outFeatures, 1] };
  },
  open(module) {
    const { shape, values } = tensorOf(module, "boft_R");
    const [count = 0, blocks = 0, b = 0] = shape;
    const scales = valuesOf(module, "boft_s");
    const factors = Array.from({ length: count }, (_, f) => ({
      order: butterfly(blocks * b, blocks / 2 ** f, b / 2, count > 1),
      rotations: Array.from({ length: blocks }, (_, k) => cayleyOf(skewPart(values, (f * blocks + k) * b * b, b), b)),
    }));
    return (row, o) => {
      for (const { order, rotations } of factors) turn(row, order, rotations, b);
      for (let i = 0; i < row.length; i++) row[i] = (row[i] as number) * (scales[o] as number);
    };
  },
};

/** Whether `factors` butterflies of blocks of b go over n inputs. */
const fits = (n: number, b: number, factors: number): boolean => factors === 1 || (b % 2 === 0 && n % (b * 2 ** (factors - 1)) === 0);

/** (M - M^T) / 2. */
const skewPart = (values: ArrayLike<number>, first: number, b: number): Float64Array =>
  Float64Array.from({ length: b * b }, (_, at) => {
    const [i, j] = [Math.floor(at / b), at % b];
    return ((values[first + at] as number) - (values[first + j * b + i] as number)) / 2;
  });

/** The k-th element comes from place `order[k]`: within each of `groups` stretches, pieces of `piece` at even places, then those at odd ones. */
function butterfly(n: number, groups: number, piece: number, several: boolean): Int32Array {
  const length = n / groups;
  const half = Math.ceil(length / piece / 2);
  return Int32Array.from({ length: n }, (_, k) => {
    if (!several) return k;
    const place = Math.floor((k % length) / piece);
    const from = place < half ? 2 * place : 2 * (place - half) + 1;
    return k - (k % length) + from * piece + (k % piece);
  });
}

/** P R P^T of a row, in place. */
function turn(row: Float64Array, order: Int32Array, rotations: readonly Float64Array[], b: number): void {
  const sorted = new Float64Array(row.length);
  for (let k = 0; k < row.length; k++) sorted[order[k] as number] = row[k] as number;
  const turned = row.map((_, i) => {
    const block = Math.floor(i / b);
    const rotation = rotations[block] as Float64Array;
    let sum = 0;
    for (let j = 0; j < b; j++) sum += (rotation[(i % b) * b + j] as number) * (sorted[block * b + j] as number);
    return sum;
  });
  for (let k = 0; k < row.length; k++) row[k] = turned[order[k] as number] as number;
}
