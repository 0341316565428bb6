// ASLoRA (Hu et al., 2024): one A for all layers of a kind, and Bs of which the most alike become one while training.
// The paper leaves open which pairs are compared: here all of one kind, by the means of B since training began.
import { defineFamily } from "../define-family.ts";
import { ALPHA, nativeType, numberOf, RANK, rowsOf, trained } from "../family.ts";
import { indexOf, part } from "../family-math.ts";
import { kaiming, type LiveModule, type Packed, type Start, tensor, zeros } from "../family-training.ts";

export const aslora = defineFamily({
  type: nativeType("aslora"),
  title: "ASLoRA",
  paper: { title: "ASLoRA: Adaptive Sharing Low-Rank Adaptation Across Layers", year: 2024, url: "https://arxiv.org/abs/2412.10135" },
  formula: "W + (alpha / r) B[owner] A, A and the Bs one pool for all layers of a kind",
  settings: [RANK, ALPHA],
  tensors: [rowsOf("aslora_B", "aslora_owner")],
  shared: trained("aslora_A", "aslora_B"),
  sharedBy: "kind",
  needsBase: false,
  foldable: "exact",
  shapes: () => ({ aslora_owner: [1] }),
  math: {
    lowRank(m, p) {
      const r = numberOf(p.settings, "r");
      const b = m.reshape(m.rows(part(p, "aslora_B"), indexOf(p, "aslora_owner")), [p.layer.outFeatures, r]);
      return { a: part(p, "aslora_A"), b, scale: numberOf(p.settings, "lora_alpha") / r };
    },
  },
  training: {
    settings: [
      { name: "merge_from", default: 320, doc: "step after which Bs are merged" },
      { name: "merge_every", default: 240, count: true, doc: "steps between two merges" },
      { name: "merges", default: 8, doc: "merges of each kind at most" },
    ],
    start: ({ index, layer, settings }) => ({
      aslora_owner: tensor([index], 1),
      // What B was on average; only training needs it.
      aslora_mean: zeros(layer.outFeatures, numberOf(settings, "r")),
    }),
    startShared(sites): Start {
      const [site] = sites;
      if (site === undefined) return {};
      const r = numberOf(site.settings, "r");
      return { aslora_A: kaiming(site, "aslora_A", r, site.layer.inFeatures), aslora_B: zeros(sites.length, site.layer.outFeatures, r) };
    },
    afterStep(modules, step) {
      for (const module of modules) addToMean(module, step);
      const kinds = new Set(modules.map(({ kind }) => kind));
      for (const kind of kinds)
        mergeNearest(
          modules.filter((module) => module.kind === kind),
          step,
        );
    },
    pack: (modules, shared) => keepOwned(modules, shared),
  },
});

function live({ tensors }: LiveModule, name: string): Float32Array {
  const found = tensors[name];
  if (found === undefined) throw new TypeError(`the module has no ${name}`);
  return found;
}

function addToMean(module: LiveModule, step: number): void {
  const mean = live(module, "aslora_mean");
  const first = (live(module, "aslora_owner")[0] as number) * mean.length;
  const pool = live(module, "aslora_B");
  for (let i = 0; i < mean.length; i++) mean[i] = (mean[i] as number) + ((pool[first + i] as number) - (mean[i] as number)) / step;
}

/** The two owners whose means are nearest become one: the lower layers take the upper's B. */
function mergeNearest(modules: readonly LiveModule[], step: number): void {
  const { settings } = modules[0] as LiveModule;
  const [from, every, most] = ["merge_from", "merge_every", "merges"].map((name) => numberOf(settings, name)) as [number, number, number];
  const owners = modules.filter((module, index) => live(module, "aslora_owner")[0] === index);
  if (step <= from || (step - from) % every !== 0 || modules.length - owners.length >= most || owners.length < 2) return;
  let best: { distance: number; lower: number; upper: number } | undefined;
  for (const [i, lower] of owners.entries())
    for (const upper of owners.slice(i + 1)) {
      const [a, b] = [live(lower, "aslora_mean"), live(upper, "aslora_mean")];
      const distance = a.reduce((sum, x, n) => sum + (x - (b[n] as number)) ** 2, 0);
      if (best === undefined || distance < best.distance)
        best = { distance, lower: live(lower, "aslora_owner")[0] as number, upper: live(upper, "aslora_owner")[0] as number };
    }
  for (const module of modules) {
    const owner = live(module, "aslora_owner");
    if (owner[0] === best?.lower) owner[0] = best?.upper ?? 0;
  }
}

/** The pool without Bs that nobody owns any more. */
function keepOwned(modules: readonly Start[], shared: Start): Packed {
  const kept = [...new Set(modules.map(({ aslora_owner: owner }) => owner?.values[0] ?? 0))].sort((a, b) => a - b);
  const pool = shared.aslora_B;
  if (pool === undefined) return { modules, shared };
  const [, ...rest] = pool.shape;
  const width = rest.reduce((size, n) => size * n, 1);
  const values = Float32Array.from(
    { length: kept.length * width },
    (_, at) => pool.values[(kept[Math.floor(at / width)] as number) * width + (at % width)] as number,
  );
  return {
    shared: { ...shared, aslora_B: tensor(values, kept.length, ...rest) },
    modules: modules.map((module) => ({ aslora_owner: tensor([kept.indexOf(module.aslora_owner?.values[0] ?? 0)], 1) })),
  };
}
