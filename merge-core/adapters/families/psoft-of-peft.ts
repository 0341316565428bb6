// PSOFT as PEFT stores it: the turn R alone. PEFT decomposes the base again wherever it loads the file, and which sign each singular
// vector then has is left to the library and the device (MKL, OpenBLAS and CUDA differ), so that the same file is another change
// elsewhere. It is therefore read with the vectors that it was trained in, in a second file (the README tells how to write it).

import type { Algebra } from "../algebra/algebra.ts";
import { cayley, identity, skew } from "../algebra/algebra.ts";
import { defineFamily } from "../define-family.ts";
import { frozen, numberOf, optional, type Settings, suffixed, trained } from "../family.ts";
import { type Factors, type Part, part } from "../family-math.ts";
import { neumannOf } from "./oft.ts";
import { psoft } from "./psoft.ts";

export const psoftOfPeft = defineFamily({
  type: "PSOFT",
  title: "PSOFT of PEFT",
  paper: psoft.paper,
  formula: "W + s B (R - I) A, R = diag(b) (I + Q)(I - Q)^-1 diag(a), s B A the r largest singular triplets of W as PEFT found them",
  settings: [
    { name: "r", default: 32, count: true, doc: "dimension of the subspace" },
    { name: "psoft_alpha", default: 32, doc: "s times r" },
    { name: "psoft_orth", default: true, doc: "R is made from a skew Q; else it is free" },
    { name: "psoft_mag_a", default: true, doc: "with scales a" },
    { name: "psoft_mag_b", default: true, doc: "with scales b" },
    { name: "use_cayley_neumann", default: false, doc: "a series in place of the inverse" },
    { name: "num_cayley_neumann_terms", default: 5, count: true, doc: "terms of the series" },
    { name: "cayley_neumann_eps", default: null, doc: "the norm that Q is scaled down to before the series" },
  ],
  tensors: [...suffixed(trained("psoft_R")), ...optional(trained("psoft_R.vector_a", "psoft_R.vector_b")), ...frozen("psoft_A", "psoft_B")],
  shared: [],
  beside: {
    file: "psoft_vectors.safetensors",
    remedy: "PEFT's file alone does not tell the change; write the vectors where it was trained, or a LoRA with PEFT's save_as_lora (see PSOFT in the README)",
  },
  needsBase: false,
  foldable: "exact",
  shapes({ inFeatures, outFeatures }, settings) {
    const r = numberOf(settings, "r");
    return {
      psoft_R: settings.psoft_orth === true ? [(r * (r - 1)) / 2] : [r, r],
      ...(settings.psoft_mag_a === true ? { "psoft_R.vector_a": [r] } : {}),
      ...(settings.psoft_mag_b === true ? { "psoft_R.vector_b": [r] } : {}),
      psoft_A: [r, inFeatures],
      psoft_B: [outFeatures, r],
    };
  },
  math: {
    lowRank<T>(m: Algebra<T>, p: Part<T>): Factors<T> {
      const r = numberOf(p.settings, "r");
      const [a, b] = [p.tensors["psoft_R.vector_a"], p.tensors["psoft_R.vector_b"]];
      let turn = p.settings.psoft_orth === true ? rotation(m, part(p, "psoft_R"), p.settings) : part(p, "psoft_R");
      if (b !== undefined) turn = m.mul(turn, m.reshape(b, [r, 1]));
      if (a !== undefined) turn = m.mul(turn, m.reshape(a, [1, r]));
      return { a: part(p, "psoft_A"), b: m.matMul(part(p, "psoft_B"), m.sub(turn, identity(m, r))), scale: numberOf(p.settings, "psoft_alpha") / r };
    },
  },
});

/** (I + Q)(I - Q)^-1, or its series. */
function rotation<T>(m: Algebra<T>, entries: T, settings: Settings): T {
  const r = numberOf(settings, "r");
  let q = m.reshape(skew(m, m.reshape(entries, [1, (r * (r - 1)) / 2]), r), [r, r]);
  if (settings.use_cayley_neumann !== true) return m.reshape(cayley(m, m.reshape(m.scale(q, -1), [1, r, r])), [r, r]);
  const most = settings.cayley_neumann_eps;
  const norm = Math.sqrt(Array.from(m.valuesOf(q)).reduce((sum, x) => sum + x * x, 0));
  if (typeof most === "number" && norm > most) q = m.scale(q, most / norm);
  return neumannOf(m, q, numberOf(settings, "num_cayley_neumann_terms"));
}
