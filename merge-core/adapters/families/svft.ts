// SVFT (Lingam et al., 2024): the base's singular vectors stay, and a sparse matrix between them is trained.
import { defineFamily } from "../define-family.ts";
import { indices, nativeType, numberOf, optional, type Settings, trained } from "../family.ts";
import { type Part, part } from "../family-math.ts";
import { checkChoice, type Site, type Start, tensor, zeros } from "../family-training.ts";
import { leadingTriplets } from "../svd-of-base.ts";

export const svft = defineFamily({
  type: nativeType("svft"),
  title: "SVFT",
  paper: { title: "SVFT: Parameter-Efficient Fine-Tuning with Singular Vectors", year: 2024, url: "https://arxiv.org/abs/2405.19597" },
  formula: "W + sigmoid(gate) U M V^T, U S V^T = W, M sparse: plain (diagonal), banded, random or top_k",
  settings: [
    { name: "pattern", default: "plain", doc: "plain, banded, random, or top_k: where the left and right directions agree most" },
    { name: "off_diagonals", default: 2, doc: "diagonals beside the main one on each side; random and top_k have as many places as banded" },
  ],
  tensors: [...trained("svft_M", "svft_gate"), ...optional(indices("svft_places"))],
  shared: [],
  needsBase: true,
  foldable: "exact",
  shapes({ inFeatures, outFeatures }, settings) {
    const count = placesOf(Math.min(inFeatures, outFeatures), settings).length;
    return { svft_M: [count], svft_gate: [1], ...(holdsPlaces(settings) ? { svft_places: [2, count] } : {}) };
  },
  derive(weight, layer) {
    const n = Math.min(layer.inFeatures, layer.outFeatures);
    const { left, right } = leadingTriplets(weight, layer, n);
    return { svft_U: tensor(left, n, layer.outFeatures), svft_V: tensor(right, n, layer.inFeatures) };
  },
  math: {
    weight(m, p, weight) {
      const n = Math.min(p.layer.inFeatures, p.layer.outFeatures);
      const values = m.mul(part(p, "svft_M"), m.sigmoid(part(p, "svft_gate")));
      const between = m.reshape(m.scatter(values, heldPlaces(p, n), n * n), [n, n]);
      return m.add(weight, m.matMul(part(p, "svft_U"), m.matMul(between, part(p, "svft_V")), { transposeA: true }));
    },
  },
  training: {
    start(site) {
      const n = Math.min(site.layer.inFeatures, site.layer.outFeatures);
      const count = placesOf(n, site.settings).length;
      // As the authors' code has it: Kaiming's normal distribution for a matrix of one row, not zeros.
      const values = tensor(site.random.normal("svft_M", count, Math.sqrt(2 / count)), count);
      checkChoice(site.settings, "pattern", PATTERNS);
      const places: Start = holdsPlaces(site.settings) ? { svft_places: chosenPlaces(site, n, count) } : {};
      return { svft_M: values, svft_gate: zeros(1), ...places };
    },
  },
});

const PATTERNS = ["plain", "banded", "random", "top_k"];
/** Places that settings do not tell are in the file. */
const holdsPlaces = ({ pattern }: Settings): boolean => pattern === "random" || pattern === "top_k";

/** Places [row n + column] of the diagonals; for random and top_k only their number counts. */
function placesOf(n: number, { pattern, ...settings }: Settings): number[] {
  const reach = pattern === "plain" ? 0 : numberOf(settings, "off_diagonals");
  const places: number[] = [];
  for (let row = 0; row < n; row++) for (let column = Math.max(0, row - reach); column <= Math.min(n - 1, row + reach); column++) places.push(row * n + column);
  return places;
}

function heldPlaces<T>(p: Part<T>, n: number): Int32Array {
  const held = p.indices.svft_places;
  if (held === undefined) return Int32Array.from(placesOf(n, p.settings));
  return Int32Array.from({ length: held.length / 2 }, (_, k) => (held[k] as number) * n + (held[held.length / 2 + k] as number));
}

function chosenPlaces(site: Site, n: number, count: number) {
  const order = site.settings.pattern === "random" ? site.random.order("svft_places", n * n) : byAgreement(site, n);
  const chosen = order.slice(0, count).sort((a, b) => a - b);
  return tensor(Int32Array.from([...chosen.map((at) => Math.floor(at / n)), ...chosen.map((at) => at % n)]), 2, count);
}

/**
 * Places by the largest elements, with their signs, of U V^T as the authors multiply them, U [out, n] and V^T [n, in]; where they do not
 * fit, of the one that is square.
 */
function byAgreement({ layer, weight }: Site, n: number): number[] {
  const { inFeatures, outFeatures } = layer;
  const { left, right } = leadingTriplets(weight, layer, n);
  const element = (row: number, column: number): number => {
    if (inFeatures > outFeatures) return left[column * n + row] as number;
    if (inFeatures < outFeatures) return right[row * n + column] as number;
    let sum = 0;
    for (let k = 0; k < n; k++) sum += (left[k * n + row] as number) * (right[k * n + column] as number);
    return sum;
  };
  const scores = Float64Array.from({ length: n * n }, (_, at) => element(Math.floor(at / n), at % n));
  return [...scores.keys()].sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b);
}
