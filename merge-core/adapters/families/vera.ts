// VeRA (Kopiczko et al., 2023): one frozen pair of random matrices for all layers, two trained diagonals for each.
import { type AdapterFamily, type AdapterModule, addLowRank, frozen, type LowRank, numberOf, tensorOf, trained, valuesOf } from "../family.ts";

export const vera: AdapterFamily = {
  type: "VERA",
  title: "VeRA",
  paper: { title: "VeRA: Vector-based Random Matrix Adaptation", year: 2023, url: "https://arxiv.org/abs/2310.11454" },
  formula: "W + diag(lambda_b) B[:out] diag(lambda_d) A[:, :in]",
  settings: [{ name: "r", default: 256, doc: "rank of the shared matrices" }],
  tensors: trained("vera_lambda_b", "vera_lambda_d"),
  shared: frozen("vera_A", "vera_B"),
  needsBase: false,
  shapes: ({ outFeatures }, settings) => ({ vera_lambda_b: [outFeatures], vera_lambda_d: [numberOf(settings, "r")] }),
  open: (module) => addLowRank(factors(module)),
  factors,
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
