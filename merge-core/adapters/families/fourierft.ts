// FourierFT (Gao et al., 2024): the change has a spectrum of a few frequencies, at places that PyTorch's generator draws from a seed.
// Read as PEFT writes it.
import { type AdapterFamily, numberOf, trained, valuesOf } from "../family.ts";
import { firstOfPermutation } from "../torch-random.ts";

export const fourierft: AdapterFamily = {
  type: "FOURIERFT",
  title: "FourierFT",
  paper: { title: "Parameter-Efficient Fine-Tuning with Discrete Fourier Transform", year: 2024, url: "https://arxiv.org/abs/2405.03003" },
  formula: "W + scaling Re(ifft2(S)), S zero but for n_frequency places",
  settings: [
    { name: "n_frequency", default: 1000, count: true, doc: "frequencies", pattern: "n_frequency_pattern" },
    { name: "scaling", default: 150, doc: "factor of the change" },
    { name: "random_loc_seed", default: 777, doc: "seed of the places" },
  ],
  tensors: trained("fourierft_spectrum"),
  shared: [],
  needsBase: false,
  foldable: "exact",
  shapes: (_, settings) => ({ fourierft_spectrum: [numberOf(settings, "n_frequency")] }),
  open(module) {
    const { inFeatures, outFeatures } = module.layer;
    const spectrum = valuesOf(module, "fourierft_spectrum");
    const places = firstOfPermutation(numberOf(module.settings, "random_loc_seed"), inFeatures * outFeatures, spectrum.length);
    const waves = wavesOf(inFeatures);
    const factor = numberOf(module.settings, "scaling") / (inFeatures * outFeatures);
    return (row, o) => {
      const [re, im] = [new Float64Array(inFeatures), new Float64Array(inFeatures)];
      for (const [k, place] of places.entries()) {
        const [u, v] = [Math.floor(place / inFeatures), place % inFeatures];
        const angle = (2 * Math.PI * ((u * o) % outFeatures)) / outFeatures;
        re[v] = (re[v] as number) + factor * (spectrum[k] as number) * Math.cos(angle);
        im[v] = (im[v] as number) + factor * (spectrum[k] as number) * Math.sin(angle);
      }
      addRealOfInverse(row, re, im, waves);
    };
  },
};

/** cos and sin of 2 pi k / n. */
interface Waves {
  readonly cos: Float64Array;
  readonly sin: Float64Array;
}

function wavesOf(n: number): Waves {
  const angles = Float64Array.from({ length: n }, (_, k) => (2 * Math.PI * k) / n);
  return { cos: angles.map(Math.cos), sin: angles.map(Math.sin) };
}

/** Adds Re sum_v (re + i im)_v exp(2 pi i v x / n) at each x. In two steps, n = p q: v x = v x1 + v p x2 with x = x1 + p x2, and v p x2 only counts v mod q. */
function addRealOfInverse(row: Float64Array, re: Float64Array, im: Float64Array, { cos, sin }: Waves): void {
  const n = row.length;
  const p = nearestDivisor(n);
  const q = n / p;
  const [sumRe, sumIm] = [new Float64Array(n), new Float64Array(n)];
  for (let v = 0; v < n; v++) {
    const [x, y] = [re[v] as number, im[v] as number];
    if (x === 0 && y === 0) continue;
    for (let x1 = 0; x1 < p; x1++) {
      const turn = (v * x1) % n;
      const [c, s, at] = [cos[turn] as number, sin[turn] as number, (v % q) * p + x1];
      sumRe[at] = (sumRe[at] as number) + x * c - y * s;
      sumIm[at] = (sumIm[at] as number) + x * s + y * c;
    }
  }
  for (let v = 0; v < q; v++)
    for (let x2 = 0; x2 < q; x2++) {
      const turn = ((v * x2) % q) * p;
      const [c, s] = [cos[turn] as number, sin[turn] as number];
      for (let x1 = 0; x1 < p; x1++) {
        const at = v * p + x1;
        row[x1 + p * x2] = (row[x1 + p * x2] as number) + (sumRe[at] as number) * c - (sumIm[at] as number) * s;
      }
    }
}

/** The divisor of n next below its root. */
function nearestDivisor(n: number): number {
  let p = Math.floor(Math.sqrt(n));
  while (n % p !== 0) p--;
  return p;
}
