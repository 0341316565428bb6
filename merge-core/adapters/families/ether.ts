// ETHER (Bini et al., 2024): inputs are mirrored, block by block, at trained hyperplanes; ETHER+ moves one direction to another,
// on the side of the inputs or on both.
import { type Algebra, normalised } from "../algebra/algebra.ts";
import { defineFamily } from "../define-family.ts";
import { type FamilySetting, nativeType, numberOf, optional, type Settings, trained } from "../family.ts";
import { type Part, part } from "../family-math.ts";
import { type Site, type Start, tensor } from "../family-training.ts";

const PAPER = { title: "ETHER: Efficient Finetuning of Large-Scale Models with Hyperplane Reflections", year: 2024, url: "https://arxiv.org/abs/2405.20271" };
const BLOCKS: FamilySetting = { name: "n_blocks", default: 1, divides: "inputs", doc: "blocks of the inputs, each with a direction of its own" };

export const ether = defineFamily({
  type: nativeType("ether"),
  title: "ETHER",
  paper: PAPER,
  formula: "W blockdiag(I - 2 u u^T), each u of length 1",
  settings: [BLOCKS],
  tensors: trained("ether_u"),
  shared: [],
  needsBase: true,
  foldable: "exact",
  shapes: ({ inFeatures }) => ({ ether_u: [inFeatures] }),
  math: { weight: (m, p, weight) => moveDirections(m, weight, blocksOf(m, p, "ether_u")) },
  training: { start: (site) => ({ ether_u: direction(site, "ether_u", site.layer.inFeatures) }) },
});

export const etherPlus = defineFamily({
  type: nativeType("ether-plus"),
  title: "ETHER+",
  paper: PAPER,
  formula: "H_out W H_in, H = blockdiag(I - u u^T + v v^T), each u and v of length 1; two_sided: false leaves H_out out",
  settings: [
    { ...BLOCKS, divides: "both" },
    { name: "two_sided", default: true, doc: "turn outputs too" },
  ],
  tensors: [...trained("ether_u", "ether_v"), ...optional(trained("ether_out_u", "ether_out_v"))],
  shared: [],
  needsBase: true,
  foldable: "exact",
  shapes: ({ inFeatures, outFeatures }, settings) => ({
    ether_u: [inFeatures],
    ether_v: [inFeatures],
    ...(twoSided(settings) ? { ether_out_u: [outFeatures], ether_out_v: [outFeatures] } : {}),
  }),
  math: {
    weight(m, p, weight) {
      const right = moveDirections(m, weight, blocksOf(m, p, "ether_u"), blocksOf(m, p, "ether_v"));
      if (!twoSided(p.settings)) return right;
      const turned = moveDirections(m, m.transpose(right, [1, 0]), blocksOf(m, p, "ether_out_u"), blocksOf(m, p, "ether_out_v"));
      return m.transpose(turned, [1, 0]);
    },
  },
  training: {
    start(site): Start {
      const pair = (side: string, size: number) => {
        const u = direction(site, `ether_${side}u`, size);
        return { [`ether_${side}u`]: u, [`ether_${side}v`]: { ...u, values: Float32Array.from(u.values) } };
      };
      return { ...pair("", site.layer.inFeatures), ...(twoSided(site.settings) ? pair("out_", site.layer.outFeatures) : {}) };
    },
  },
});

const twoSided = ({ two_sided }: Settings): boolean => two_sided === true;

function direction({ random, settings }: Site, name: string, size: number) {
  return tensor(random.uniform(name, size, 1 / Math.sqrt(size / numberOf(settings, "n_blocks"))), size);
}

/** Unit vectors [blocks, width, 1]. */
function blocksOf<T>(m: Algebra<T>, p: Part<T>, name: string): T {
  const values = part(p, name);
  const [size = 0] = m.shapeOf(values);
  const n = numberOf(p.settings, "n_blocks");
  return normalised(m, m.reshape(values, [n, size / n, 1]), 1);
}

/** W with H applied to its columns, block by block: I - 2 u u^T, or with v I - u u^T + v v^T. */
function moveDirections<T>(m: Algebra<T>, weight: T, u: T, v?: T): T {
  const [out = 0, inputs = 0] = m.shapeOf(weight);
  const [n = 0, width = 0] = m.shapeOf(u);
  const parts = m.transpose(m.reshape(weight, [out, n, width]), [1, 0, 2]);
  const along = (d: T) => m.matMul(m.matMul(parts, d), d, { transposeB: true });
  const moved = v === undefined ? m.sub(parts, m.scale(along(u), 2)) : m.add(m.sub(parts, along(u)), along(v));
  return m.reshape(m.transpose(moved, [1, 0, 2]), [out, inputs]);
}
