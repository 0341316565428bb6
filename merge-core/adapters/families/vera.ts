// VeRA (Kopiczko et al., 2023): one frozen pair of random matrices for all layers, two trained diagonals for each.
import { type AdapterFamily, type AdapterModule, addLowRank, frozen, type LowRank, numberOf, tensorOf, trained, valuesOf } from "../family.ts";
import { firstColumns, firstRows, part } from "../family-math.ts";
import { filled, tensor, zeros } from "../family-training.ts";

export const vera: AdapterFamily = {
  type: "VERA",
  title: "VeRA",
  paper: { title: "VeRA: Vector-based Random Matrix Adaptation", year: 2023, url: "https://arxiv.org/abs/2310.11454" },
  formula: "W + diag(lambda_b) B[:out] diag(lambda_d) A[:, :in]",
  settings: [{ name: "r", default: 256, count: true, doc: "rank of the shared matrices" }],
  tensors: trained("vera_lambda_b", "vera_lambda_d"),
  shared: frozen("vera_A", "vera_B"),
  needsBase: false,
  foldable: "exact",
  shapes: ({ outFeatures }, settings) => ({ vera_lambda_b: [outFeatures], vera_lambda_d: [numberOf(settings, "r")] }),
  open: (module) => addLowRank(factors(module)),
  factors,
  math: {
    lowRank(m, p) {
      const a = firstColumns(m, part(p, "vera_A"), p.layer.inFeatures);
      const b = firstRows(m, part(p, "vera_B"), p.layer.outFeatures);
      const [r = 0] = m.shapeOf(a);
      const rows = (name: string, count: number) => m.reshape(part(p, name), [count, 1]);
      return { a: m.mul(rows("vera_lambda_d", r), a), b: m.mul(rows("vera_lambda_b", p.layer.outFeatures), b), scale: 1 };
    },
  },
  training: {
    settings: [{ name: "d_initial", default: 0.1, doc: "where lambda_d starts" }],
    start: ({ layer, settings }) => ({
      vera_lambda_b: zeros(layer.outFeatures),
      vera_lambda_d: filled(numberOf(settings, "d_initial"), numberOf(settings, "r")),
    }),
    // Kaiming's uniform distribution for rectifiers: a variance of 2 / fan in.
    startShared(sites) {
      const r = numberOf(sites[0]?.settings ?? {}, "r");
      const [inputs, outputs] = [Math.max(...sites.map(({ layer }) => layer.inFeatures)), Math.max(...sites.map(({ layer }) => layer.outFeatures))];
      const draw = (name: string, rows: number, columns: number) =>
        tensor(sites[0]?.random.uniform(name, rows * columns, Math.sqrt(6 / columns)) ?? [], rows, columns);
      return { vera_A: draw("vera_A", r, inputs), vera_B: draw("vera_B", outputs, r) };
    },
    fileConfig: () => ({ projection_prng_key: 0, save_projection: true }),
  },
};

function factors(module: AdapterModule): LowRank {
  const { inFeatures, outFeatures } = module.layer;
  const [sharedA, sharedB] = [tensorOf(module, "vera_A"), tensorOf(module, "vera_B")];
  const [r = 0, width = 0] = sharedA.shape;
  const [lambdaB, lambdaD] = [valuesOf(module, "vera_lambda_b"), valuesOf(module, "vera_lambda_d")];
  const a = Float64Array.from({ length: r * inFeatures }, (_, at) => {
    const k = Math.floor(at / inFeatures);
    return (lambdaD[k] as number) * (sharedA.values[k * width + (at % inFeatures)] as number);
  });
  const b = Float64Array.from({ length: outFeatures * r }, (_, at) => (lambdaB[Math.floor(at / r)] as number) * (sharedB.values[at] as number));
  return { ...module.layer, r, a, b, scale: 1 };
}
