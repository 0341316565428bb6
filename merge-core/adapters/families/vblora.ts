// VB-LoRA (Li et al., 2024): the factors are put together from mixtures of a few vectors of one bank for the whole model.

import type { Algebra } from "../algebra/algebra.ts";
import { type AdapterFamily, type AdapterModule, addLowRank, indices, type LowRank, numberOf, type Shapes, tensorOf, trained } from "../family.ts";
import { indexOf, type Part, part } from "../family-math.ts";
import { type Start, tensor } from "../family-training.ts";

export const vblora: AdapterFamily = {
  type: "VBLORA",
  title: "VB-LoRA",
  paper: { title: "VB-LoRA: Extreme Parameter Efficient Fine-Tuning with Vector Banks", year: 2024, url: "https://arxiv.org/abs/2405.15179" },
  formula: "W + B A, each part of A and B of length b being sum softmax(top-k logits) bank[top-k]",
  settings: [
    { name: "r", default: 4, count: true, doc: "rank" },
    { name: "num_vectors", default: 256, count: true, doc: "vectors of the bank" },
    { name: "vector_length", default: 256, divides: "both", doc: "length b of a vector; divides both sides of every layer" },
    { name: "topk", default: 2, count: true, doc: "vectors that are mixed" },
    { name: "save_only_topk_weights", default: false, doc: "the file holds what is mixed and not the logits; training cannot go on from it" },
  ],
  tensors: ["vblora_logits_A", "vblora_logits_B"].flatMap((name) => [...trained(name, `${name}_topk_weights`), ...indices(`${name}_topk_indices`)]),
  shared: trained("vblora_vector_bank"),
  needsBase: false,
  foldable: "exact",
  shapes({ inFeatures, outFeatures }, settings): Shapes {
    const [r, h, b, k] = ["r", "num_vectors", "vector_length", "topk"].map((name) => numberOf(settings, name)) as [number, number, number, number];
    const places = { A: [r, inFeatures / b], B: [outFeatures / b, r] };
    const named = Object.entries(places).map(([side, shape]) => [`vblora_logits_${side}`, shape] as const);
    if (settings.save_only_topk_weights !== true) return Object.fromEntries(named.map(([name, shape]) => [name, [...shape, h]]));
    return Object.fromEntries(
      named.flatMap(([name, shape]) => [
        [`${name}_topk_indices`, [...shape, k]],
        [`${name}_topk_weights`, [...shape, k - 1]],
      ]),
    );
  },
  open: (module) => addLowRank(factors(module)),
  factors,
  math: {
    lowRank(m, p) {
      const [r, b] = [numberOf(p.settings, "r"), numberOf(p.settings, "vector_length")];
      const { inFeatures, outFeatures } = p.layer;
      const parts = m.reshape(mixed(m, p, "vblora_logits_B"), [outFeatures / b, r, b]);
      return { a: m.reshape(mixed(m, p, "vblora_logits_A"), [r, inFeatures]), b: m.reshape(m.transpose(parts, [0, 2, 1]), [outFeatures, r]), scale: 1 };
    },
  },
  training: {
    start({ layer, settings, random }) {
      const [r, h, b] = ["r", "num_vectors", "vector_length"].map((name) => numberOf(settings, name)) as [number, number, number];
      const logits = (name: string, ...places: readonly number[]) =>
        tensor(
          random.normal(
            name,
            places.reduce((x, y) => x * y, h),
            0.1,
          ),
          ...places,
          h,
        );
      return { vblora_logits_A: logits("vblora_logits_A", r, layer.inFeatures / b), vblora_logits_B: logits("vblora_logits_B", layer.outFeatures / b, r) };
    },
    startShared(sites) {
      const [h, b] = ["num_vectors", "vector_length"].map((name) => numberOf(sites[0]?.settings ?? {}, name)) as [number, number];
      return { vblora_vector_bank: tensor(sites[0]?.random.uniform("vblora_vector_bank", h * b, 0.02) ?? [], h, b) };
    },
    rates: () => ({ vblora_logits_A: 10, vblora_logits_B: 10 }),
    stored: (settings, { tensors }) => ({
      settings,
      tensors: settings.save_only_topk_weights === true ? onlyLargest(tensors, numberOf(settings, "topk")) : tensors,
    }),
  },
};

function factors(module: AdapterModule): LowRank {
  const { inFeatures, outFeatures } = module.layer;
  const r = numberOf(module.settings, "r");
  const length = numberOf(module.settings, "vector_length");
  // Parts of B run along its outputs: [out / b, r, b] is turned to [out / b, b, r].
  const parts = selected(module, "vblora_logits_B");
  const b = Float64Array.from({ length: outFeatures * r }, (_, at) => {
    const [o, k] = [Math.floor(at / r), at % r];
    return parts[(Math.floor(o / length) * r + k) * length + (o % length)] as number;
  });
  return { ...module.layer, r, a: selected(module, "vblora_logits_A").subarray(0, r * inFeatures), b, scale: 1 };
}

/** The mixtures, one after another. */
function selected(module: AdapterModule, name: string): Float64Array {
  const { values: bank } = tensorOf(module, "vblora_vector_bank");
  const length = numberOf(module.settings, "vector_length");
  const mixtures = mixturesOf(module, name);
  const out = new Float64Array(mixtures.length * length);
  for (const [place, mixture] of mixtures.entries())
    for (const { vector, weight } of mixture)
      for (let i = 0; i < length; i++) out[place * length + i] = (out[place * length + i] as number) + weight * (bank[vector * length + i] as number);
  return out;
}

/** What is mixed of each place's logits: which vectors, and all of their weights but the last, which is what these leave of one. */
function onlyLargest(tensors: Start, topk: number): Start {
  return Object.fromEntries(
    Object.entries(tensors).flatMap(([name, { shape, values }]) => {
      const places = shape.slice(0, -1);
      const mixtures = rowsOf(values, shape.at(-1) ?? 0).map((row) => softmaxOfLargest(row, topk));
      const chosen = Int32Array.from(mixtures.flatMap((mixture) => mixture.map(({ vector }) => vector)));
      const weights = Float32Array.from(mixtures.flatMap((mixture) => mixture.slice(0, -1).map(({ weight }) => weight)));
      return [
        [`${name}_topk_indices`, tensor(chosen, ...places, topk)],
        [`${name}_topk_weights`, tensor(weights, ...places, topk - 1)],
      ];
    }),
  );
}

type Mixture = readonly { readonly vector: number; readonly weight: number }[];

function mixturesOf(module: AdapterModule, name: string): Mixture[] {
  const topk = numberOf(module.settings, "topk");
  const logits = module.tensors[name];
  if (logits !== undefined) return rowsOf(logits.values, logits.shape.at(-1) ?? 0).map((row) => softmaxOfLargest(row, topk));
  return mixturesOfStored(tensorOf(module, `${name}_topk_indices`).values, tensorOf(module, `${name}_topk_weights`).values, topk);
}

/** The last weight is what the others leave of one. */
function mixturesOfStored(chosen: ArrayLike<number>, weights: ArrayLike<number>, topk: number): Mixture[] {
  const given = rowsOf(weights, topk - 1);
  return rowsOf(chosen, topk).map((vectors, place) => {
    const row = given[place] ?? [];
    const last = 1 - row.reduce((sum, w) => sum + w, 0);
    return vectors.map((vector, k) => ({ vector, weight: row[k] ?? last }));
  });
}

function rowsOf(values: ArrayLike<number>, width: number): number[][] {
  return width === 0
    ? []
    : Array.from({ length: values.length / width }, (_, row) => Array.from({ length: width }, (_, i) => values[row * width + i] as number));
}

function softmaxOfLargest(logits: readonly number[], count: number): Mixture {
  const largest = logits.map((logit, vector) => ({ logit, vector })).sort((x, y) => y.logit - x.logit || x.vector - y.vector);
  const kept = largest.slice(0, count).map(({ logit, vector }) => ({ vector, weight: Math.exp(logit - (largest[0]?.logit ?? 0)) }));
  const total = kept.reduce((sum, { weight }) => sum + weight, 0);
  return kept.map(({ vector, weight }) => ({ vector, weight: weight / total }));
}

/** Mixtures of the largest logits' vectors; gradients reach those alone. */
function mixed<T>(m: Algebra<T>, p: Part<T>, name: string): T {
  const logits = p.tensors[name];
  if (logits === undefined) return mixedAsStored(m, p, name);
  const h = m.shapeOf(logits).at(-1) ?? 0;
  const places = m.valuesOf(logits).length / h;
  const mask = new Float64Array(places * h).fill(EXCLUDED);
  for (const [place, row] of rowsOf(m.valuesOf(logits), h).entries())
    for (const { vector } of softmaxOfLargest(row, numberOf(p.settings, "topk"))) mask[place * h + vector] = 0;
  const weights = m.softmax(m.add(m.reshape(logits, [places, h]), m.constant(mask, [places, h])));
  return m.matMul(weights, part(p, "vblora_vector_bank"));
}

/** The same where the logits are not there any more. */
function mixedAsStored<T>(m: Algebra<T>, p: Part<T>, name: string): T {
  const bank = part(p, "vblora_vector_bank");
  const mixtures = mixturesOfStored(indexOf(p, `${name}_topk_indices`), m.valuesOf(part(p, `${name}_topk_weights`)), numberOf(p.settings, "topk"));
  const h = m.shapeOf(bank)[0] ?? 0;
  const weights = new Float64Array(mixtures.length * h);
  for (const [place, mixture] of mixtures.entries()) for (const { vector, weight } of mixture) weights[place * h + vector] = weight;
  return m.matMul(m.constant(weights, [mixtures.length, h]), bank);
}

/** Added to a logit to leave its vector out. */
const EXCLUDED = -1e30;
