// HRA (Yuan et al., 2024): inputs are mirrored at r trained hyperplanes, one after another.
import { type AdapterFamily, type AdapterModule, numberOf, RANK, tensorOf, trained } from "../family.ts";

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
};

const dot = (x: Float64Array, y: Float64Array): number => x.reduce((sum, value, i) => sum + value * (y[i] as number), 0);

/** Columns of unit length; orthogonal ones by Gram-Schmidt, whose reflections may then be taken in any order. */
function directions(module: AdapterModule): Float64Array[] {
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
