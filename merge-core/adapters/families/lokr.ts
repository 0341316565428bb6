// LoKr, a Kronecker product of which either side may be a low-rank product (KronA, Edalati et al., 2022; LyCORIS, Yeh et al., 2023).

import { kronecker } from "../algebra/algebra.ts";
import { type AdapterFamily, type AdapterModule, numberOf, RANK, tensorOf, trained } from "../family.ts";
import { part } from "../family-math.ts";
import { kaiming, zeros } from "../family-training.ts";

export const lokr: AdapterFamily = {
  type: "LOKR",
  title: "LoKr",
  paper: { title: "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model Evaluation", year: 2023, url: "https://arxiv.org/abs/2309.14859" },
  formula: "W + (alpha / r) kron(w1, w2), w1 = w1_a w1_b and w2 = w2_a w2_b where they are decomposed",
  settings: [
    RANK,
    { name: "alpha", default: 8, doc: "scale times r", pattern: "alpha_pattern" },
    { name: "decompose_factor", default: -1, doc: "first side of the factorised dimensions; -1 for the nearest to the square root" },
    { name: "decompose_both", default: false, doc: "decompose w1 too" },
  ],
  tensors: trained("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b"),
  shared: [],
  needsBase: false,
  foldable: "exact",
  shapes({ inFeatures, outFeatures }, settings) {
    const factor = numberOf(settings, "decompose_factor");
    const [c, d] = factorization(inFeatures, factor);
    const [a, b] = factorization(outFeatures, factor);
    const r = numberOf(settings, "r");
    const small = settings.decompose_both === true && r < Math.max(a, c) / 2;
    return {
      ...(small ? { lokr_w1_a: [a, r], lokr_w1_b: [r, c] } : { lokr_w1: [a, c] }),
      ...(r < Math.max(b, d) / 2 ? { lokr_w2_a: [b, r], lokr_w2_b: [r, d] } : { lokr_w2: [b, d] }),
    };
  },
  open(module) {
    const [w1, w2] = [side(module, "lokr_w1"), side(module, "lokr_w2")];
    const scale = numberOf(module.settings, "alpha") / numberOf(module.settings, "r");
    return (row, o) => {
      const [top, bottom] = [Math.floor(o / w2.rows), o % w2.rows];
      for (let i = 0; i < row.length; i++) {
        const left = w1.data[top * w1.columns + Math.floor(i / w2.columns)] as number;
        row[i] = (row[i] as number) + scale * left * (w2.data[bottom * w2.columns + (i % w2.columns)] as number);
      }
    };
  },
  math: {
    weight(m, p, weight) {
      const side = (name: string) => p.tensors[name] ?? m.matMul(part(p, `${name}_a`), part(p, `${name}_b`));
      const scale = numberOf(p.settings, "alpha") / numberOf(p.settings, "r");
      return m.add(weight, m.scale(kronecker(m, side("lokr_w1"), side("lokr_w2")), scale));
    },
  },
  training: {
    start: (site) =>
      Object.fromEntries(
        Object.entries(lokr.shapes(site.layer, site.settings, {})).map(([name, [rows = 0, columns = 0]]) => [
          name,
          name === "lokr_w1" || name === "lokr_w1_a" ? zeros(rows, columns) : kaiming(site, name, rows, columns),
        ]),
      ),
  },
};

/**
 * A dimension as a product of two whole numbers, the first not above the second: with `factor` itself if that divides it,
 * else the most balanced pair whose first is at most `factor` (-1: no limit).
 */
export function factorization(dimension: number, factor: number): [number, number] {
  if (factor > 0 && dimension % factor === 0) return [factor, dimension / factor];
  const limit = factor === -1 ? dimension : factor;
  let best: [number, number] = [1, dimension];
  for (let m = 2; m <= limit && m * m <= dimension; m++) if (dimension % m === 0) best = [m, dimension / m];
  return best;
}

interface Side {
  readonly rows: number;
  readonly columns: number;
  readonly data: ArrayLike<number>;
}

/** One side of the product, multiplied out. */
function side(module: AdapterModule, name: string): Side {
  const whole = module.tensors[name];
  if (whole !== undefined) return { rows: whole.shape[0] ?? 0, columns: whole.shape[1] ?? 0, data: whole.values };
  const [a, b] = [tensorOf(module, `${name}_a`), tensorOf(module, `${name}_b`)];
  const [rows = 0, r = 0] = a.shape;
  const columns = b.shape[1] ?? 0;
  const data = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let k = 0; k < r; k++)
      for (let j = 0; j < columns; j++)
        data[i * columns + j] = (data[i * columns + j] as number) + (a.values[i * r + k] as number) * (b.values[k * columns + j] as number);
  return { rows, columns, data };
}
