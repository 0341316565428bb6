// FISH mask (Sung et al., 2021): of all weights of the targets, those with the largest empirical Fisher information are
// trained. Held as additions to them, which is the same as training them in place.
import { defineFamily } from "../define-family.ts";
import { indices, nativeType, numberOf, trained } from "../family.ts";
import { indexOf, part } from "../family-math.ts";
import { type Site, tensor, zeros } from "../family-training.ts";

export const fish = defineFamily({
  type: nativeType("fish"),
  title: "FISH mask",
  paper: { title: "Training Neural Networks with Fixed Sparse Masks", year: 2021, url: "https://arxiv.org/abs/2111.09839" },
  formula: "W[row_n, column_n] + value_n for the weights with the largest mean squared gradient",
  settings: [{ name: "keep_ratio", default: 0.005, doc: "share of the weights of all targets together" }],
  tensors: [...trained("fish_values"), ...indices("fish_places")],
  shared: [],
  needsBase: false,
  foldable: "exact",
  // The share is one of all targets: how many fall to a layer, the file tells.
  shapes(_, __, { fish_values }) {
    const [count = 0] = fish_values ?? [];
    return { fish_values: [count], fish_places: [2, count] };
  },
  math: {
    weight(m, p, weight) {
      const { inFeatures, outFeatures } = p.layer;
      const places = indexOf(p, "fish_places");
      const count = places.length / 2;
      const flat = Int32Array.from({ length: count }, (_, n) => (places[n] as number) * inFeatures + (places[count + n] as number));
      return m.add(weight, m.reshape(m.scatter(part(p, "fish_values"), flat, outFeatures * inFeatures), [outFeatures, inFeatures]));
    },
  },
  training: {
    needsFisher: true,
    start(site) {
      const { inFeatures } = site.layer;
      const kept = keptPlaces(site);
      const places = [...kept.map((at) => Math.floor(at / inFeatures)), ...kept.map((at) => at % inFeatures)];
      return { fish_values: zeros(kept.length), fish_places: tensor(Int32Array.from(places), 2, kept.length) };
    },
  },
});

/** Places in the site's own matrix; among equals those of earlier sites and places. */
function keptPlaces(site: Site): number[] {
  const everyone = site.fisher ?? [];
  const sizes = everyone.map((values) => values.length);
  const wanted = Math.round(numberOf(site.settings, "keep_ratio") * sizes.reduce((sum, n) => sum + n, 0));
  const sorted = Float64Array.from(everyone.flatMap((values) => Array.from(values))).sort();
  const least = sorted[sorted.length - wanted] ?? Number.POSITIVE_INFINITY;
  let left = wanted - sorted.filter((x) => x > least).length;
  for (const [index, values] of everyone.entries()) {
    const kept: number[] = [];
    for (let at = 0; at < values.length; at++) if ((values[at] as number) > least || (values[at] === least && left-- > 0)) kept.push(at);
    if (index === site.place) return kept;
  }
  return [];
}
