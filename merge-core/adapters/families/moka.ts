// MoKA (2025), a mixture of Kronecker products with factors of different shapes, weighted by gates that training chooses.
// The paper's start is not published: here the second factors are zero, so that the weight is the base's.
import { kronecker } from "../algebra/algebra.ts";
import { defineFamily } from "../define-family.ts";
import { type LayerShape, nativeType, type Settings, trained } from "../family.ts";
import { part } from "../family-math.ts";
import { tensor, zeros } from "../family-training.ts";
import { factorization } from "./lokr.ts";

export const moka = defineFamily({
  type: nativeType("moka"),
  title: "MoKA",
  paper: { title: "MoKA: Mixture of Kronecker Adapters", year: 2025, url: "https://arxiv.org/abs/2508.03527" },
  formula: "W + sum_i softmax(gate)_i kron(A_i, B_i)",
  settings: [{ name: "factors", default: "2,4,8", doc: "for each product the first sides of its A, as near as they divide the layer's" }],
  tensors: trained("moka_A", "moka_B", "moka_gate"),
  shared: [],
  needsBase: false,
  foldable: "exact",
  shapes(layer, settings) {
    const terms = termsOf(layer, settings);
    const total = (size: (term: Term) => number) => [terms.reduce((sum, term) => sum + size(term), 0)];
    return { moka_A: total(({ a, c }) => a * c), moka_B: total(({ b, d }) => b * d), moka_gate: [terms.length] };
  },
  math: {
    weight(m, p, weight) {
      const terms = termsOf(p.layer, p.settings);
      const gates = m.reshape(m.softmax(m.reshape(part(p, "moka_gate"), [1, terms.length])), [terms.length, 1]);
      const slice = (name: string, first: number, rows: number, columns: number) => {
        const all = part(p, name);
        const flat = m.reshape(all, [m.shapeOf(all)[0] ?? 0, 1]);
        return m.reshape(
          m.rows(
            flat,
            Int32Array.from({ length: rows * columns }, (_, i) => first + i),
          ),
          [rows, columns],
        );
      };
      let sum = weight;
      let [atA, atB] = [0, 0];
      for (const [i, { a, b, c, d }] of terms.entries()) {
        const product = kronecker(m, slice("moka_A", atA, a, c), slice("moka_B", atB, b, d));
        sum = m.add(sum, m.mul(product, m.rows(gates, [i])));
        [atA, atB] = [atA + a * c, atB + b * d];
      }
      return sum;
    },
  },
  training: {
    start({ layer, settings, random }) {
      const shapes = moka.shapes(layer, settings, {});
      const [count = 0] = shapes.moka_A ?? [];
      const a = termsOf(layer, settings).flatMap(({ a: rows, c }, i) => [...random.uniform(`moka_A/${i}`, rows * c, 1 / Math.sqrt(c))]);
      return { moka_A: tensor(Float32Array.from(a), count), moka_B: zeros(...(shapes.moka_B ?? [])), moka_gate: zeros(...(shapes.moka_gate ?? [])) };
    },
  },
});

/** A_i [a, c] and B_i [b, d], with a b outputs and c d inputs. */
interface Term {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
}

function termsOf({ inFeatures, outFeatures }: LayerShape, { factors }: Settings): Term[] {
  return String(factors)
    .split(/[\s,]+/)
    .map((text) => {
      const [[a, b], [c, d]] = [factorization(outFeatures, Number(text)), factorization(inFeatures, Number(text))];
      return { a, b, c, d };
    });
}
