// Where LoRA's factors start, and how those that start from the base's own directions are stored.
import { inputError } from "../../diagnostics.ts";
import { type LayerShape, type LowRank, numberOf, type Settings } from "../family.ts";
import { kaiming, type Site, type Start, tensor, zeros } from "../family-training.ts";
import { leadingTriplets } from "../svd-of-base.ts";
import { chosenRank } from "./elastic.ts";

const STARTS = ["default", "gaussian", "pissa", "olora"];

/** @param scale what B A is multiplied by @throws WeightsmithError `adapter-setting-invalid` */
export function startLora(site: Site, scale: number): Start {
  const { settings, layer, weight } = site;
  if (settings.elastic_ranks !== "" && (settings.init_lora_weights === "pissa" || settings.init_lora_weights === "olora"))
    throw inputError("adapter-setting-invalid", "elastic ranks need a start that leaves the base as it is", {
      found: `init_lora_weights ${settings.init_lora_weights}`,
      expected: "default or gaussian",
    });
  const factors = startFactors(site, numberOf(settings, "r"), scale);
  if (settings.use_dora !== true) return factors;
  const { inFeatures, outFeatures } = layer;
  const norms = Float32Array.from({ length: outFeatures }, (_, o) => {
    let sum = 0;
    for (let i = 0; i < inFeatures; i++) sum += (weight[o * inFeatures + i] as number) ** 2;
    return Math.sqrt(sum);
  });
  return { ...factors, lora_magnitude_vector: tensor(norms, outFeatures) };
}

function startFactors(site: Site, r: number, scale: number): Start {
  const { inFeatures, outFeatures } = site.layer;
  const kind = site.settings.init_lora_weights;
  if (kind === "pissa") return keepStart(principal(site, r, scale));
  if (kind === "olora") return keepStart(orthonormal(site, r));
  if (!STARTS.includes(String(kind)))
    throw inputError("adapter-setting-invalid", "init_lora_weights is not usable", { found: String(kind), expected: STARTS.join(", ") });
  const a = kind === "gaussian" ? tensor(site.random.normal("lora", r * inFeatures, 1 / r), r, inFeatures) : kaiming(site, "lora", r, inFeatures);
  return { lora_A: a, lora_B: zeros(outFeatures, r) };
}

/** The base is never changed: what it would lose is kept beside, and taken off the change. */
const keepStart = ({ lora_A, lora_B }: Start & { lora_A: Start[string]; lora_B: Start[string] }): Start => ({
  lora_A,
  lora_B,
  lora_A0: { ...lora_A, values: Float32Array.from(lora_A.values) },
  lora_B0: { ...lora_B, values: Float32Array.from(lora_B.values) },
});

/** What PEFT takes off the base where training starts with directions of its own: scale B0 A0. Signs cancel in the product. */
export function takenOffBase(weight: ArrayLike<number>, layer: LayerShape, kind: "pissa" | "olora", r: number, scale: number): LowRank {
  const { lora_A, lora_B } = kind === "pissa" ? principal({ layer, weight }, r, scale) : orthonormal({ layer, weight }, r);
  return { ...layer, r, a: Float32Array.from(lora_A.values), b: Float32Array.from(lora_B.values), scale };
}

/** PiSSA (Meng et al., 2024): U sqrt(S) and sqrt(S) V^T of the r largest singular values, divided by the scale. */
function principal({ layer, weight }: Pick<Site, "layer" | "weight">, r: number, scale: number) {
  const { inFeatures, outFeatures } = layer;
  const { left, values, right } = leadingTriplets(weight, layer, r);
  const root = (k: number) => Math.sqrt((values[k] as number) / scale);
  const a = Float32Array.from({ length: r * inFeatures }, (_, at) => root(Math.floor(at / inFeatures)) * (right[at] as number));
  const b = Float32Array.from({ length: outFeatures * r }, (_, at) => root(at % r) * (left[(at % r) * outFeatures + Math.floor(at / r)] as number));
  return { lora_A: tensor(a, r, inFeatures), lora_B: tensor(b, outFeatures, r) };
}

/** OLoRA (Bueyuekakyuez, 2024): W = Q R; B is Q's first r columns and A is R's first r rows. By Gram-Schmidt, twice for accuracy. */
function orthonormal({ layer, weight }: Pick<Site, "layer" | "weight">, r: number) {
  const { inFeatures, outFeatures } = layer;
  const columns = Array.from({ length: r }, (_, k) => Float64Array.from({ length: outFeatures }, (_, o) => weight[o * inFeatures + k] as number));
  for (const [k, column] of columns.entries()) {
    for (let round = 0; round < 2; round++)
      for (const earlier of columns.slice(0, k)) {
        const share = dot(column, earlier);
        for (let o = 0; o < outFeatures; o++) column[o] = (column[o] as number) - share * (earlier[o] as number);
      }
    const norm = Math.sqrt(dot(column, column));
    for (let o = 0; o < outFeatures; o++) column[o] = (column[o] as number) / norm;
  }
  const a = new Float32Array(r * inFeatures);
  for (const [k, q] of columns.entries())
    for (let i = 0; i < inFeatures; i++) {
      let sum = 0;
      for (let o = 0; o < outFeatures; o++) sum += (q[o] as number) * (weight[o * inFeatures + i] as number);
      a[k * inFeatures + i] = sum;
    }
  const b = Float32Array.from({ length: outFeatures * r }, (_, at) => columns[at % r]?.[Math.floor(at / r)] as number);
  return { lora_A: tensor(a, r, inFeatures), lora_B: tensor(b, outFeatures, r) };
}

const dot = (x: Float64Array, y: Float64Array): number => x.reduce((sum, value, i) => sum + value * (y[i] as number), 0);

/**
 * At the rank that was chosen, if it is elastic. With a start that the base would lose, as one plain LoRA of twice the rank: [A; A0] and
 * [B, -B0]; alpha grows with it, so that the scale stays.
 */
export function storedLora(settings: Settings, { tensors }: { readonly tensors: Start }): { settings: Settings; tensors: Start } {
  const { lora_A: a, lora_B: b, lora_A0: a0, lora_B0: b0, ...rest } = tensors;
  if (a === undefined || b === undefined || a0 === undefined || b0 === undefined)
    return { settings, tensors: chosenRank(settings, tensors, "lora_A", "lora_B") };
  const [[r = 0, inputs = 0], [outputs = 0]] = [a.shape, b.shape];
  const rows = Float32Array.from({ length: 2 * r * inputs }, (_, at) => (at < r * inputs ? a.values[at] : a0.values[at - r * inputs]) as number);
  const columns = Float32Array.from({ length: outputs * 2 * r }, (_, at) => {
    const [o, k] = [Math.floor(at / (2 * r)), at % (2 * r)];
    return k < r ? (b.values[o * r + k] as number) : -(b0.values[o * r + k - r] as number);
  });
  const alpha = numberOf(settings, "lora_alpha") * (settings.use_rslora === true ? Math.SQRT2 : 2);
  return {
    settings: { ...settings, r: 2 * r, lora_alpha: alpha },
    tensors: { ...rest, lora_A: tensor(rows, 2 * r, inputs), lora_B: tensor(columns, outputs, 2 * r) },
  };
}
