// HRA (Yuan et al., 2024): inputs are mirrored at r trained hyperplanes, one after another.

import { inputError } from "../../diagnostics.ts";
import { normalised } from "../algebra/algebra.ts";
import { type AdapterFamily, type AdapterModule, numberOf, RANK, tensorOf, trained } from "../family.ts";
import { part } from "../family-math.ts";
import { tensor } from "../family-training.ts";

export const hra: AdapterFamily = {
  type: "HRA",
  title: "HRA",
  paper: {
    title: "Bridging The Gap between Low-rank and Orthogonal Adaptation via Householder Reflection Adaptation",
    year: 2024,
    url: "https://arxiv.org/abs/2405.17484",
  },
  formula: "W (I - 2 u_1 u_1^T) ... (I - 2 u_r u_r^T), each u of length 1; apply_GS: made orthogonal first",
  settings: [RANK, { name: "apply_GS", default: false, doc: "orthogonal directions" }],
  tensors: trained("hra_u"),
  shared: [],
  needsBase: true,
  foldable: "exact",
  shapes: ({ inFeatures }, settings) => ({ hra_u: [inFeatures, numberOf(settings, "r")] }),
  open(module) {
    const mirrors = directions(module);
    return (row) => {
      for (const u of mirrors) {
        const reach = 2 * dot(row, u);
        for (let i = 0; i < row.length; i++) row[i] = (row[i] as number) - reach * (u[i] as number);
      }
    };
  },
  math: {
    weight(m, p, weight) {
      const r = m.shapeOf(part(p, "hra_u"))[1] ?? 0;
      const columns = m.transpose(part(p, "hra_u"), [1, 0]);
      const found: (typeof weight)[] = [];
      let turned = weight;
      for (let k = 0; k < r; k++) {
        let u = m.rows(columns, [k]);
        if (p.settings.apply_GS === true) for (const earlier of found) u = m.sub(u, m.matMul(m.matMul(u, earlier, { transposeB: true }), earlier));
        u = normalised(m, u, 1);
        found.push(u);
        turned = m.sub(turned, m.scale(m.matMul(m.matMul(turned, u, { transposeB: true }), u), 2));
      }
      return turned;
    },
  },
  training: {
    // Equal mirrors next to each other undo each other. Made orthogonal, the second would be of length zero: they start apart.
    start(site) {
      const [r, n] = [numberOf(site.settings, "r"), site.layer.inFeatures];
      if (r % 2 === 1) throw inputError("adapter-setting-invalid", "mirrors come in pairs", { found: `r ${r}`, expected: "an even r" });
      const pairs = site.random.uniform("hra_u", n * r, Math.sqrt(3 / n));
      return {
        hra_u: tensor(
          Float32Array.from(pairs, (u, at) => (site.settings.apply_GS === true ? u : (pairs[at - ((at % r) % 2)] as number))),
          n,
          r,
        ),
      };
    },
  },
};

const dot = (x: Float64Array, y: Float64Array): number => x.reduce((sum, value, i) => sum + value * (y[i] as number), 0);

/** Columns of unit length; orthogonal ones by Gram-Schmidt, whose reflections may then be taken in any order. */
export function directions(module: AdapterModule): Float64Array[] {
  const { shape, values } = tensorOf(module, "hra_u");
  const [n = 0, r = 0] = shape;
  const found: Float64Array[] = [];
  for (let k = 0; k < r; k++) {
    const u = Float64Array.from({ length: n }, (_, i) => values[i * r + k] as number);
    if (module.settings.apply_GS === true)
      for (const earlier of found) {
        const share = dot(u, earlier);
        for (let i = 0; i < n; i++) u[i] = (u[i] as number) - share * (earlier[i] as number);
      }
    const norm = Math.sqrt(dot(u, u));
    found.push(u.map((x) => x / norm));
  }
  return found;
}
