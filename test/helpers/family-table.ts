// Every family with small settings, and what holds for it alone: the table that the laws of families run over.
import type { AdapterFamily, Settings } from "../../merge-core/adapters/family.ts";
import type { RandomSource, Site, Start } from "../../merge-core/adapters/family-training.ts";
import { families, findFamily } from "../../merge-core/adapters/registry.ts";
import { testRandom } from "./tiny-decoder.ts";

export const INPUTS = 12;
export const OUTPUTS = 8;
const LAYERS = 3;

export interface FamilyCase {
  readonly name: string;
  readonly type: string;
  readonly settings: Settings;
  /** Trained parameters of all three layers of 12 inputs and 8 outputs, by the paper's formula. */
  readonly count: number;
  /** Training does not start at the base model. */
  readonly startsAway?: true;
  readonly tasks?: number;
  /** Trained tensors whose gradient is not the slope, as the paper wants it. */
  readonly notSlopes?: readonly string[];
}

const [n, m, L] = [INPUTS, OUTPUTS, LAYERS];
const native = (id: string) => `x-weightsmith-${id}`;

export const CASES: readonly FamilyCase[] = [
  { name: "LoRA", type: "LORA", settings: { r: 2, lora_alpha: 3 }, count: L * 2 * (n + m) },
  { name: "rsLoRA", type: "LORA", settings: { r: 4, lora_alpha: 3, use_rslora: true }, count: L * 4 * (n + m) },
  { name: "DoRA", type: "LORA", settings: { r: 2, use_dora: true }, count: L * (2 * (n + m) + m), notSlopes: ["lora_A", "lora_B"] },
  { name: "PiSSA", type: "LORA", settings: { r: 2, init_lora_weights: "pissa" }, count: L * 2 * (n + m) },
  { name: "OLoRA", type: "LORA", settings: { r: 2, init_lora_weights: "olora" }, count: L * 2 * (n + m) },
  { name: "AdaLoRA", type: "ADALORA", settings: { init_r: 3, target_r: 2 }, count: L * 3 * (n + m + 1) },
  { name: "LoNAS", type: native("lonas"), settings: { r: 3, elastic_ranks: "3,2", elastic_modules: "q_proj,up_proj" }, count: L * 3 * (n + m) },
  { name: "DeLoRA", type: "DELORA", settings: { r: 2 }, count: L * (2 * (n + m) + 1) },
  { name: "ShareLoRA a", type: native("sharelora"), settings: { r: 2 }, count: 2 * n + L * 2 * m },
  { name: "ShareLoRA b", type: native("sharelora"), settings: { r: 2, share: "b" }, count: L * 2 * n + 2 * m },
  { name: "ShareLoRA ab", type: native("sharelora"), settings: { r: 2, share: "ab" }, count: 2 * (n + m) },
  { name: "ASLoRA", type: native("aslora"), settings: { r: 2 }, count: 2 * n + L * 2 * m },
  { name: "MoS", type: native("mos"), settings: { r: 4, equivalent_rank: 2, chunks: 2, private_rank: 1 }, count: 2 * L * (n + m) },
  {
    name: "VB-LoRA",
    type: "VBLORA",
    settings: { r: 2, num_vectors: 5, vector_length: 4, topk: 2 },
    count: 5 * 4 + L * ((5 * 2 * (n + m)) / 4),
    startsAway: true,
  },
  { name: "VeRA", type: "VERA", settings: { r: 5 }, count: L * (5 + m) },
  { name: "LoHa", type: "LOHA", settings: { r: 2 }, count: L * 2 * 2 * (n + m) },
  { name: "LoKr", type: "LOKR", settings: { r: 1 }, count: L * (6 + 4 + 4) },
  { name: "MoKA", type: native("moka"), settings: { factors: "2,4" }, count: L * (2 * 2 + 4 * 6 + (4 * 4 + 2 * 3) + 2) },
  // Trains of 2 * 12 = 8 * 3 and 2 * 8 = 8 * 2 elements.
  { name: "LoRETTA", type: native("loretta"), settings: { r: 2, tensor_rank: 3 }, count: L * (3 * (8 + 3) + 3 * (8 + 2)), startsAway: true },
  { name: "MiSS", type: "MISS", settings: { r: 4 }, count: L * 4 * m },
  { name: "MiSS mini", type: "MISS", settings: { r: 4, init_weights: "mini", mini_r: 2 }, count: L * 4 * 2 },
  { name: "MiSS bat", type: "MISS", settings: { r: 4, init_weights: "bat" }, count: L * 4 * m },
  { name: "Bone", type: "BONE", settings: { r: 4 }, count: L * 4 * m },
  { name: "C3A", type: "C3A", settings: { block_size: 4 }, count: L * ((n * m) / 4) },
  { name: "SVFT plain", type: native("svft"), settings: {}, count: L * (m + 1), startsAway: true },
  { name: "SVFT banded", type: native("svft"), settings: { pattern: "banded", off_diagonals: 2 }, count: L * (m * 5 - 2 * 3 + 1), startsAway: true },
  { name: "SVFT random", type: native("svft"), settings: { pattern: "random", off_diagonals: 1 }, count: L * (m * 3 - 2 + 1), startsAway: true },
  { name: "SVFT top_k", type: native("svft"), settings: { pattern: "top_k", off_diagonals: 1 }, count: L * (m * 3 - 2 + 1), startsAway: true },
  { name: "OFT", type: "OFT", settings: { oft_block_size: 4 }, count: (L * n * 3) / 2 },
  { name: "OFT exact", type: "OFT", settings: { oft_block_size: 4, use_cayley_neumann: false }, count: (L * n * 3) / 2 },
  { name: "OFT shared block", type: "OFT", settings: { oft_block_size: 4, block_share: true }, count: L * 6 },
  { name: "OFT constrained", type: "OFT", settings: { oft_block_size: 4, coft: true, eps: 0.5 }, count: (L * n * 3) / 2 },
  { name: "HRA", type: "HRA", settings: { r: 4 }, count: L * 4 * n },
  { name: "HRA orthogonal", type: "HRA", settings: { r: 2, apply_GS: true }, count: L * 2 * n, startsAway: true },
  { name: "ETHER", type: native("ether"), settings: { n_blocks: 3 }, count: L * n, startsAway: true },
  { name: "ETHER+", type: native("ether-plus"), settings: { n_blocks: 2 }, count: L * 2 * (n + m) },
  { name: "ETHER+ one side", type: native("ether-plus"), settings: { two_sided: false }, count: L * 2 * n },
  { name: "PSOFT", type: native("psoft"), settings: { r: 4 }, count: L * (6 + 8) },
  { name: "HiRA", type: "HIRA", settings: { r: 2 }, count: L * 2 * (n + m) },
  { name: "SHiRA", type: "SHIRA", settings: { r: 1 }, count: L * (n + m) },
  { name: "NeuroAda", type: native("neuroada"), settings: { k: 2 }, count: L * 2 * m },
  { name: "FISH mask", type: native("fish"), settings: { keep_ratio: 0.1 }, count: Math.round(0.1 * L * n * m) },
  { name: "TAPS", type: native("taps"), settings: {}, count: L * (n * m + 1), notSlopes: ["taps_score"] },
  { name: "IA3", type: "IA3", settings: {}, count: L * m },
  { name: "IA3 feed-forward", type: "IA3", settings: { feedforward_modules: "q_proj" }, count: L * n },
  { name: "two-stage", type: native("two-stage"), settings: { channels: 3 }, count: L * 3 },
  { name: "Polytropon", type: "POLY", settings: { r: 2, n_tasks: 3 }, tasks: 3, count: L * (4 * 2 * (n + m) + 3 * 4) },
  { name: "MHR", type: "POLY", settings: { r: 2, n_tasks: 3, n_splits: 4, direct: true }, tasks: 3, count: L * (4 * 2 * (n + m) + 3 * 16) },
  { name: "PaLoRA", type: native("palora"), settings: { r: 2, n_tasks: 2, train_base: false }, tasks: 2, count: L * 2 * 2 * (n + m) },
  { name: "PaLoRA with base", type: native("palora"), settings: { r: 2, n_tasks: 2 }, tasks: 2, count: L * (n * m + 2 * 2 * (n + m)) },
  { name: "MoLoRA", type: native("molora"), settings: { r: 2, n_experts: 3 }, count: L * (3 * 2 * (n + m) + 3 * n) },
  { name: "MoV", type: native("mov"), settings: { n_experts: 3 }, count: L * 3 * (m + n) },
  { name: "mixture of LoRAs", type: native("mol"), settings: { r: 2, n_experts: 3, top_k: 2 }, count: L * (3 * 2 * (n + m) + 3 * n) },
  { name: "MoSA", type: native("mosa"), settings: { r: 4 }, count: L * 2 * 4 * m },
  { name: "MoSA lora", type: native("mosa"), settings: { r: 4, variant: "lora" }, count: L * 4 * (n + m) },
  { name: "MoSA shared down", type: native("mosa"), settings: { r: 4, share: "down" }, count: L * 2 * 4 * m },
  // Trains of 4 * 8 = 8 * 4 elements each way, and biases.
  {
    name: "LoRETTA adapters",
    type: native("loretta-adp"),
    settings: { bottleneck: 4, tensor_rank: 3 },
    count: L * (2 * 3 * (8 + 4) + 4 + m),
    startsAway: true,
  },
  {
    name: "LoRETTA adapters relu",
    type: native("loretta-adp"),
    settings: { bottleneck: 4, tensor_rank: 3, activation: "relu" },
    count: L * (2 * 3 * (8 + 4) + 4 + m),
    startsAway: true,
  },
  {
    name: "HyperFormer",
    type: native("hyperformer"),
    settings: { reduction: 4, n_tasks: 2, embedding: 4, hidden: 6, projected: 5 },
    tasks: 2,
    count: 2 * 4 + L * 4 + 4 + 6 * 12 + 5 * 6 + 5 + 2 * (2 * m * 5) + 2 * m * 5,
  },
];

export function familyOf({ type }: Pick<FamilyCase, "type">): AdapterFamily {
  const family = findFamily(type);
  if (family === undefined) throw new Error(`no family ${type}`);
  return family;
}

/** Families that can be trained and stand in no row of the table. */
export const untested = (): string[] =>
  families
    .filter(({ training, type, replaces }) => training !== undefined && !CASES.some((c) => c.type === type) && replaces === undefined)
    .map(({ type }) => type);

/** A generator of its own, so that the tests' numbers do not hang on the code under test. */
export function testSource(seed: number): RandomSource {
  const draw = (stream: string) => testRandom(seed + [...stream].reduce((sum, c) => sum * 31 + c.charCodeAt(0), 7));
  return {
    uniform: (stream, count, bound) => {
      const random = draw(stream);
      return Float32Array.from({ length: count }, () => random() * bound);
    },
    normal: (stream, count, deviation) => {
      const random = draw(stream);
      return Float32Array.from({ length: count }, () => random() * Math.sqrt(3) * deviation);
    },
    order: (stream, count) => {
      const random = draw(stream);
      return Array.from({ length: count }, (_, i) => ({ i, key: random() }))
        .sort((a, b) => a.key - b.key)
        .map(({ i }) => i);
    },
  };
}

export interface Started {
  readonly family: AdapterFamily;
  readonly settings: Settings;
  readonly sites: readonly Site[];
  readonly modules: readonly Start[];
  readonly shared: Start;
}

/** The three layers as training starts with them. */
export function startCase(testCase: FamilyCase): Started {
  const family = familyOf(testCase);
  const all = [...family.settings, ...(family.training?.settings ?? [])];
  const settings = { ...Object.fromEntries(all.map((setting) => [setting.name, setting.default])), ...testCase.settings };
  const random = testRandom(3);
  const fisher = Array.from({ length: L }, () => Float64Array.from({ length: n * m }, () => random() ** 2));
  const sites = Array.from({ length: L }, (_, index): Site => {
    const weight = Float32Array.from({ length: n * m }, random);
    const module = `model.layers.${index}.self_attn.q_proj`;
    const rest = { layer: { inFeatures: n, outFeatures: m }, settings, weight, tasks: testCase.tasks ?? 1, fisher, kinds: ["q_proj"] };
    return { module, kind: "q_proj", index, place: index, count: L, random: testSource(index * 100), ...rest };
  });
  const modules = sites.map((site) => family.training?.start(site) ?? {});
  return { family, settings, sites, modules, shared: family.training?.startShared?.(sites) ?? {} };
}
