// MoSA, a mixture of sparse adapters (Zhu et al., 2023): the entries of one adapter are divided among experts, each step trains
// those of one expert, and afterwards all are put together again at the cost of one adapter.
import { type Algebra, gelu } from "../algebra/algebra.ts";
import { defineFamily } from "../define-family.ts";
import { nativeType, numberOf, type Settings, trained } from "../family.ts";
import { type Factors, type Part, type Pass, part } from "../family-math.ts";
import { checkChoice, kaiming, type Site, type Start, tensor, zeros } from "../family-training.ts";

export const mosa = defineFamily({
  type: nativeType("mosa"),
  title: "MoSA",
  paper: { title: "MoSA: Mixture of Sparse Adapters for Visual Efficient Tuning", year: 2023, url: "https://arxiv.org/abs/2312.02923" },
  formula: "y + scale up gelu(down y); variant lora: W + scale up down",
  settings: [
    { name: "r", default: 64, count: true, doc: "width of the bottleneck" },
    { name: "scale", default: 0.1, doc: "of the change" },
    { name: "variant", default: "adapter", doc: "adapter or lora" },
  ],
  tensors: trained("mosa_down", "mosa_up"),
  shared: [],
  needsBase: false,
  foldable: "no",
  shapes({ inFeatures, outFeatures }, settings) {
    const r = numberOf(settings, "r");
    return { mosa_down: [r, isLora(settings) ? inFeatures : outFeatures], mosa_up: [outFeatures, r] };
  },
  math: {
    forward(m, p, x, linear, pass) {
      const { a, b, scale } = oneExpert(m, p, pass);
      const y = linear(x);
      const inner = isLora(p.settings) ? m.matMul(x, a, { transposeB: true }) : gelu(m, m.matMul(y, a, { transposeB: true }));
      return m.add(y, m.scale(m.matMul(inner, b, { transposeB: true }), scale));
    },
    chosen(m, p) {
      if (!isLora(p.settings)) throw new RangeError("an adapter of variant lora");
      return oneExpert(m, p, {});
    },
  },
  training: {
    settings: [
      { name: "share", default: "none", doc: "none, or down: all experts train one down" },
      { name: "n_experts", default: 4, count: true, doc: "parts that the entries are divided into" },
      {
        name: "merge",
        default: "add",
        doc: "how the experts become one: add divides what was trained by their number, as the sum of the copies does; joint takes each entry whole from its owner",
      },
    ],
    start(site) {
      const [r, { outFeatures }] = [numberOf(site.settings, "r"), site.layer];
      const width = isLora(site.settings) ? site.layer.inFeatures : outFeatures;
      checkChoice(site.settings, "share", ["none", "down"]);
      const down = kaiming(site, "mosa_down", r, width);
      return {
        mosa_down: down,
        mosa_up: zeros(outFeatures, r),
        // Only training needs these: where down began, and which expert owns which entry.
        mosa_down_start: { ...down, values: Float32Array.from(down.values) },
        mosa_down_owner: owners(site, "down", r, width),
        mosa_up_owner: owners(site, "up", outFeatures, r),
      };
    },
    stored: (settings, { tensors }) => ({ settings, tensors: mergeExperts(settings, tensors) }),
  },
});

const isLora = ({ variant }: Settings): boolean => variant === "lora";

/** Parts of equal size by rank of a random score. */
function owners({ settings, random }: Site, side: string, rows: number, columns: number) {
  const experts = numberOf(settings, "n_experts");
  const owner = new Float32Array(rows * columns);
  for (const [rank, at] of random.order(`mosa_${side}`, owner.length).entries()) owner[at] = Math.floor((rank * experts) / owner.length);
  return tensor(owner, rows, columns);
}

/** While training, the start with the entries of one expert; the down and the up that are used are drawn apart. */
function oneExpert<T>(m: Algebra<T>, p: Part<T>, { draw }: Pass): Factors<T> {
  const [down, up] = [part(p, "mosa_down"), part(p, "mosa_up")];
  const scale = numberOf(p.settings, "scale");
  const start = p.tensors.mosa_down_start;
  if (start === undefined) return { a: down, b: up, scale };
  const experts = numberOf(p.settings, "n_experts");
  if (draw === undefined) {
    // As it will be stored.
    const share = p.settings.merge === "add" ? 1 / experts : 1;
    const a = p.settings.share === "down" ? down : m.add(start, m.scale(m.sub(down, start), share));
    return { a, b: m.scale(up, share), scale };
  }
  const mask = (side: string) => {
    const chosen = Math.floor((draw(`expert/${side}/${p.module}`, 1)[0] as number) * experts);
    const owner = part(p, `mosa_${side}_owner`);
    return m.constant(
      Float32Array.from(m.valuesOf(owner), (x) => (x === chosen ? 1 : 0)),
      m.shapeOf(owner),
    );
  };
  const a = p.settings.share === "down" ? down : m.add(start, m.mul(m.sub(down, start), mask("down")));
  return { a, b: m.mul(up, mask("up")), scale };
}

function mergeExperts(settings: Settings, { mosa_down: down, mosa_up: up, mosa_down_start: start }: Start): Start {
  if (down === undefined || up === undefined) return {};
  if (settings.merge !== "add" || start === undefined) return { mosa_down: down, mosa_up: up };
  const experts = numberOf(settings, "n_experts");
  const own = settings.share === "down" ? 1 : 1 / experts;
  const values = Float32Array.from(down.values, (x, at) => (start.values[at] as number) + (x - (start.values[at] as number)) * own);
  return { mosa_down: { ...down, values }, mosa_up: { ...up, values: Float32Array.from(up.values, (x) => x / experts) } };
}
