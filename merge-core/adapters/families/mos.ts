// MoS, a mixture of shards (Wang et al., 2024): rows of A and columns of B are put together from chunks of pools that all
// layers of a kind share; which chunks is drawn once, for A and B apart, and a few are each layer's own.
import { inputError } from "../../diagnostics.ts";
import { defineFamily } from "../define-family.ts";
import { nativeType, numberOf, RANK, rowsOf, type Settings, trained } from "../family.ts";
import { indexOf, part } from "../family-math.ts";
import { type Site, type Start, tensor, zeros } from "../family-training.ts";

export const mos = defineFamily({
  type: nativeType("mos"),
  title: "MoS",
  paper: { title: "MoS: Unleashing Parameter Efficiency of Low-Rank Adaptation with Mixture of Shards", year: 2024, url: "https://arxiv.org/abs/2410.00938" },
  formula: "W + (alpha / r) B A, rows of A and columns of B made of chunks of shared pools",
  settings: [
    RANK,
    { name: "lora_alpha", default: 16, doc: "scale times r", pattern: "alpha_pattern" },
    { name: "equivalent_rank", default: 2, count: true, doc: "rank of the LoRA that has as many parameters" },
    { name: "chunks", default: 2, divides: "both", doc: "chunks of one row; divides both sides of every layer" },
    { name: "private_rank", default: 1, doc: "rows of each layer that it shares with no other" },
  ],
  tensors: [rowsOf("mos_A", "mos_A_chunks"), rowsOf("mos_B", "mos_B_chunks")],
  shared: trained("mos_A", "mos_B"),
  sharedBy: "kind",
  needsBase: false,
  foldable: "exact",
  shapes(_, settings) {
    const count = numberOf(settings, "r") * numberOf(settings, "chunks");
    return { mos_A_chunks: [count], mos_B_chunks: [count] };
  },
  math: {
    lowRank(m, p) {
      const r = numberOf(p.settings, "r");
      const gather = (side: string, width: number) => m.reshape(m.rows(part(p, `mos_${side}`), indexOf(p, `mos_${side}_chunks`)), [r, width]);
      const scale = numberOf(p.settings, "lora_alpha") / r;
      return { a: gather("A", p.layer.inFeatures), b: m.transpose(gather("B", p.layer.outFeatures), [1, 0]), scale };
    },
  },
  training: {
    start: (site) => ({ mos_A_chunks: choice(site, "A"), mos_B_chunks: choice(site, "B") }),
    startShared(sites): Start {
      const [site] = sites;
      if (site === undefined) return {};
      const { l, rows } = sizes(site.settings, sites.length);
      const { inFeatures, outFeatures } = site.layer;
      const a = site.random.uniform("mos_A", (rows * inFeatures) / l, 1 / Math.sqrt(inFeatures));
      return { mos_A: tensor(a, rows, inFeatures / l), mos_B: zeros(rows, outFeatures / l) };
    },
  },
});

/** Chunks of a pool; those from `shared` on are private. */
function sizes(settings: Settings, layers: number) {
  const [r, e, l, p] = ["r", "equivalent_rank", "chunks", "private_rank"].map((name) => numberOf(settings, name)) as [number, number, number, number];
  return { r, l, p, shared: (e - p) * layers * l, rows: e * layers * l };
}

function choice({ settings, count, index, random }: Site, side: string) {
  const { r, l, p, shared } = sizes(settings, count);
  if (p > r || shared < (r - p) * l)
    throw inputError("adapter-setting-invalid", "the pool of MoS has fewer shared chunks than one layer takes", {
      found: `${shared} chunks for ${count} layers, of which a layer takes ${(r - p) * l}`,
      expected: "(equivalent_rank - private_rank) layers of at least r - private_rank",
      remedy: "raise equivalent_rank, or lower r",
    });
  const drawn = random.order(`mos_${side}`, shared).slice(0, (r - p) * l);
  const own = Array.from({ length: p * l }, (_, i) => shared + index * p * l + i);
  return tensor(Int32Array.from([...drawn, ...own]), r * l);
}
