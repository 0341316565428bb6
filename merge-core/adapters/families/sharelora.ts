// ShareLoRA (Song et al., 2024): LoRA whose A, or B, or both, all layers of a kind have in common.
import { defineFamily } from "../define-family.ts";
import { ALPHA, indices, nativeType, numberOf, optional, RANK, type Settings, trained } from "../family.ts";
import { part } from "../family-math.ts";
import { kaiming, type Site, type Start, tensor, zeros } from "../family-training.ts";

export const sharelora = defineFamily({
  type: nativeType("sharelora"),
  title: "ShareLoRA",
  paper: {
    title: "ShareLoRA: Parameter Efficient and Robust Large Language Model Fine-tuning via Shared Low-Rank Adaptation",
    year: 2024,
    url: "https://arxiv.org/abs/2406.10785",
  },
  formula: "W + (alpha / r) B A; share: a, b or ab tells which is one for all layers of a kind",
  settings: [RANK, ALPHA, { name: "share", default: "a", doc: "a, b or ab" }],
  // The place says that a layer is adapted where all else is shared.
  tensors: [...optional(trained("lora_A", "lora_B")), ...indices("sharelora_place")],
  shared: optional(trained("sharelora_A", "sharelora_B")),
  sharedBy: "kind",
  needsBase: false,
  foldable: "exact",
  shapes({ inFeatures, outFeatures }, settings) {
    const r = numberOf(settings, "r");
    return {
      sharelora_place: [1],
      ...(shares(settings, "a") ? {} : { lora_A: [r, inFeatures] }),
      ...(shares(settings, "b") ? {} : { lora_B: [outFeatures, r] }),
    };
  },
  math: {
    lowRank: (_, p) => ({
      a: p.tensors.lora_A ?? part(p, "sharelora_A"),
      b: p.tensors.lora_B ?? part(p, "sharelora_B"),
      scale: numberOf(p.settings, "lora_alpha") / numberOf(p.settings, "r"),
    }),
  },
  training: {
    start: (site) => ({ ...startOf(site, "lora_", (side) => !shares(site.settings, side)), sharelora_place: tensor([site.index], 1) }),
    startShared: ([site]) => (site === undefined ? {} : startOf(site, "sharelora_", (side) => shares(site.settings, side))),
  },
});

const shares = ({ share }: Settings, side: "a" | "b"): boolean => String(share).includes(side);

function startOf(site: Site, prefix: string, wanted: (side: "a" | "b") => boolean): Start {
  const r = numberOf(site.settings, "r");
  return {
    ...(wanted("a") ? { [`${prefix}A`]: kaiming(site, "lora_A", r, site.layer.inFeatures) } : {}),
    ...(wanted("b") ? { [`${prefix}B`]: zeros(site.layer.outFeatures, r) } : {}),
  };
}
