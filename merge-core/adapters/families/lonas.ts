// LoNAS (Munoz et al., 2024): a LoRA whose rank is elastic, on layers whose widths are: channels that are left out are zero, so
// that they can be cut out of the base. Channels are ordered by the base's weights, as elastic networks order them.
import type { Algebra } from "../algebra/algebra.ts";
import { defineFamily } from "../define-family.ts";
import { ALPHA, indices, type LayerShape, nativeType, numberOf, RANK, trained } from "../family.ts";
import { type Part, type Pass, part } from "../family-math.ts";
import { kaiming, type Site, tensor, zeros } from "../family-training.ts";
import { chosenRank, elasticFactors, elasticWidth } from "./elastic.ts";

export const lonas = defineFamily({
  type: nativeType("lonas"),
  title: "LoNAS",
  paper: { title: "LoNAS: Elastic Low-Rank Adapters for Efficient Large Language Models", year: 2024, url: "https://aclanthology.org/2024.lrec-main.940" },
  formula: "[output is kept] (W + (alpha / r) B A)",
  settings: [RANK, ALPHA],
  tensors: [...trained("lonas_A", "lonas_B"), ...indices("lonas_kept")],
  shared: [],
  needsBase: true,
  foldable: "exact",
  shapes({ inFeatures, outFeatures }, settings, { lonas_kept: [kept = outFeatures] = [] }) {
    const r = numberOf(settings, "r");
    return { lonas_A: [r, inFeatures], lonas_B: [outFeatures, r], lonas_kept: [kept, 1] };
  },
  math: {
    forward(m, p, x, linear, pass) {
      const { a, b, scale } = factorsOf(m, p, pass);
      const change = m.matMul(m.matMul(x, a, { transposeB: true }), b, { transposeB: true });
      return m.mul(m.add(linear(x), m.scale(change, scale)), m.constant(keptMask(m, p, pass), [1, p.layer.outFeatures]));
    },
    weight(m, p, weight, pass) {
      const { a, b, scale } = factorsOf(m, p, pass);
      return m.mul(m.add(weight, m.scale(m.matMul(b, a), scale)), m.constant(keptMask(m, p, pass), [p.layer.outFeatures, 1]));
    },
  },
  biasFactor: ({ layer, tensors }) => maskOf(tensors.lonas_kept?.values ?? [], layer),
  training: {
    settings: [
      { name: "elastic_ranks", default: "", doc: "ranks that steps draw from, such as 8,6,4" },
      { name: "elastic_widths", default: "1,0.875,0.75", doc: "shares of outputs that steps draw from" },
      { name: "elastic_modules", default: "up_proj,c_fc", doc: "kinds of modules whose outputs are elastic" },
      { name: "search_evaluations", default: 0, doc: "validation losses spent on choosing sizes after training; 0 takes the middle of each list" },
    ],
    start(site) {
      const { inFeatures, outFeatures } = site.layer;
      const r = numberOf(site.settings, "r");
      return {
        lonas_A: kaiming(site, "lonas_A", r, inFeatures),
        lonas_B: zeros(outFeatures, r),
        lonas_kept: tensor(
          Int32Array.from({ length: outFeatures }, (_, o) => o),
          outFeatures,
          1,
        ),
        // Only training needs it: each output's place by importance.
        lonas_place: tensor(placesOf(site), outFeatures),
      };
    },
    stored(settings, { layer, tensors }) {
      const { lonas_place: places, ...rest } = chosenRank(settings, tensors, "lonas_A", "lonas_B");
      const width = typeof settings.elastic_width === "number" ? settings.elastic_width : layer.outFeatures;
      const kept = Array.from({ length: layer.outFeatures }, (_, o) => o).filter((o) => (places?.values[o] ?? 0) < width);
      return { settings, tensors: places === undefined ? rest : { ...rest, lonas_kept: tensor(Int32Array.from(kept), kept.length, 1) } };
    },
  },
});

function factorsOf<T>(m: Algebra<T>, p: Part<T>, pass: Pass) {
  const scale = numberOf(p.settings, "lora_alpha") / numberOf(p.settings, "r");
  return elasticFactors(m, p, { a: part(p, "lonas_A"), b: part(p, "lonas_B"), scale }, pass);
}

/** One for outputs that are kept: in training the most important ones, else those that the file names. */
function keptMask<T>(m: Algebra<T>, p: Part<T>, pass: Pass): Float32Array {
  const places = p.tensors.lonas_place;
  if (places === undefined) return maskOf(p.indices.lonas_kept ?? [], p.layer);
  const width = elasticWidth(p, pass);
  return Float32Array.from(m.valuesOf(places), (place) => (place < width ? 1 : 0));
}

function maskOf(kept: ArrayLike<number>, { outFeatures }: LayerShape): Float32Array {
  const mask = new Float32Array(outFeatures);
  for (const o of Array.from(kept)) mask[o] = 1;
  return mask;
}

/** Of each output by the sum of its weights' sizes, the largest first. */
function placesOf({ layer: { inFeatures, outFeatures }, weight }: Site): Float32Array {
  const sizes = Array.from({ length: outFeatures }, (_, o) => {
    let sum = 0;
    for (let i = 0; i < inFeatures; i++) sum += Math.abs(weight[o * inFeatures + i] as number);
    return sum;
  });
  const order = [...sizes.keys()].sort((a, b) => (sizes[b] as number) - (sizes[a] as number) || a - b);
  const places = new Float32Array(outFeatures);
  for (const [place, o] of order.entries()) places[o] = place;
  return places;
}
