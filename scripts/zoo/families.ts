// npm run zoo -- --families: trains an adapter of every family on one task of the zoo, all for the same steps on the same
// rows in the same order, and writes what was measured into the README. With names after it only those are trained, and their
// rows alone are written.
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Settings } from "../../merge-core/adapters/family.ts";
import { findFamily } from "../../merge-core/adapters/registry.ts";
import { attachAdapter } from "../../merge-core/evaluate/attach-adapter.ts";
import { measureTasks, readTaskData } from "../../merge-core/evaluate/measure-tasks.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel } from "../../merge-core/nn/model.ts";
import { TRAIN_DEFAULTS, type TrainConfig } from "../../merge-core/train/config.ts";
import { defaultSettings } from "../../merge-core/train/make-trainable.ts";
import { train } from "../../merge-core/train/train.ts";
import { LORA, SEED } from "./settings.ts";
import { makeData } from "./train-zoo.ts";

const BASE = "media/zoo/base";
/** One that the base has in outline only. */
const TASK = "sort";
const STEPS = 60;
const BATCH = 32;

interface Entry {
  readonly name: string;
  readonly type: string;
  readonly settings: Settings;
  /** Families differ by orders of magnitude in what suits them; each has the best of 0.001, 0.003, 0.01, 0.03 and 0.1 by feel, none was searched. */
  readonly lr: number;
  readonly targets?: readonly string[];
}

const native = (id: string): string => `x-weightsmith-${id}`;
const OUTPUTS = ["o_proj", "down_proj"];
const NORMS = ["input_layernorm", "post_attention_layernorm", "norm"];

export const ENTRIES: readonly Entry[] = [
  { name: "LoRA", type: "LORA", settings: { r: 8, lora_alpha: 16 }, lr: 0.003 },
  { name: "rsLoRA", type: "LORA", settings: { r: 8, lora_alpha: 16, use_rslora: true }, lr: 0.003 },
  { name: "DoRA", type: "LORA", settings: { r: 8, lora_alpha: 16, use_dora: true }, lr: 0.003 },
  { name: "PiSSA", type: "LORA", settings: { r: 8, lora_alpha: 8, init_lora_weights: "pissa" }, lr: 0.001 },
  { name: "OLoRA", type: "LORA", settings: { r: 8, lora_alpha: 8, init_lora_weights: "olora" }, lr: 0.001 },
  { name: "LoRA+", type: "LORA", settings: { r: 8, lora_alpha: 16, lora_plus_ratio: 4 }, lr: 0.002 },
  { name: "elastic LoRA", type: "LORA", settings: { r: 8, lora_alpha: 16, elastic_ranks: "8,6,4", search_evaluations: 8 }, lr: 0.003 },
  { name: "LoNAS", type: native("lonas"), settings: { r: 8, lora_alpha: 16, elastic_widths: "1,0.9,0.8", search_evaluations: 8 }, lr: 0.003 },
  { name: "AdaLoRA", type: "ADALORA", settings: { init_r: 12, target_r: 8, lora_alpha: 24, tinit: 10, tfinal: 20, orth_reg_weight: 0.1 }, lr: 0.01 },
  { name: "DeLoRA", type: "DELORA", settings: { r: 8 }, lr: 0.01 },
  { name: "ShareLoRA", type: native("sharelora"), settings: { r: 8, lora_alpha: 16 }, lr: 0.003 },
  { name: "ASLoRA", type: native("aslora"), settings: { r: 8, lora_alpha: 16, merge_from: 20, merge_every: 20, merges: 1 }, lr: 0.003 },
  { name: "MoS", type: native("mos"), settings: { r: 4, equivalent_rank: 2, chunks: 2 }, lr: 0.003 },
  { name: "VB-LoRA", type: "VBLORA", settings: { r: 4, num_vectors: 64, vector_length: 64 }, lr: 0.01 },
  { name: "VeRA", type: "VERA", settings: { r: 128 }, lr: 0.03 },
  { name: "LoHa", type: "LOHA", settings: { r: 4 }, lr: 0.01 },
  { name: "LoKr", type: "LOKR", settings: { r: 4 }, lr: 0.01 },
  { name: "MoKA", type: native("moka"), settings: {}, lr: 0.01 },
  { name: "LoRETTA", type: native("loretta"), settings: { r: 8, lora_alpha: 16 }, lr: 0.01 },
  { name: "MiSS", type: "MISS", settings: { r: 8 }, lr: 0.003 },
  { name: "MiSS bat", type: "MISS", settings: { r: 8, init_weights: "bat" }, lr: 0.003 },
  { name: "Bone", type: "BONE", settings: { r: 8 }, lr: 0.003 },
  { name: "C3A", type: "C3A", settings: { block_size: 64 }, lr: 0.1 },
  { name: "SVFT banded", type: native("svft"), settings: { pattern: "banded", off_diagonals: 4 }, lr: 0.01 },
  { name: "SVFT top_k", type: native("svft"), settings: { pattern: "top_k", off_diagonals: 4 }, lr: 0.01 },
  { name: "OFT", type: "OFT", settings: { oft_block_size: 32 }, lr: 0.003 },
  { name: "OFT constrained", type: "OFT", settings: { oft_block_size: 32, coft: true, eps: 1 }, lr: 0.003 },
  { name: "HRA", type: "HRA", settings: { r: 8 }, lr: 0.003 },
  { name: "ETHER", type: native("ether"), settings: { n_blocks: 4 }, lr: 0.01 },
  { name: "ETHER+", type: native("ether-plus"), settings: { n_blocks: 4 }, lr: 0.01 },
  { name: "PSOFT", type: native("psoft"), settings: { r: 32 }, lr: 0.01 },
  { name: "HiRA", type: "HIRA", settings: { r: 8 }, lr: 0.01 },
  { name: "SHiRA", type: "SHIRA", settings: { r: 4 }, lr: 0.01 },
  { name: "NeuroAda", type: native("neuroada"), settings: { k: 4 }, lr: 0.01 },
  { name: "FISH mask", type: native("fish"), settings: { keep_ratio: 0.03 }, lr: 0.003 },
  { name: "TAPS", type: native("taps"), settings: { penalty: 0.1 }, lr: 0.001 },
  { name: "IA3", type: "IA3", settings: {}, lr: 0.03 },
  { name: "norm tuning", type: "LN_TUNING", settings: {}, lr: 0.03, targets: NORMS },
  { name: "two-stage", type: native("two-stage"), settings: { channels: 32 }, lr: 0.03, targets: [...NORMS, ...LORA.targetModules] },
  { name: "Polytropon", type: "POLY", settings: { r: 4, n_skills: 2 }, lr: 0.003 },
  { name: "MHR", type: "POLY", settings: { r: 4, n_skills: 2, n_splits: 4 }, lr: 0.003 },
  { name: "PaLoRA", type: native("palora"), settings: { r: 8, lora_alpha: 16, n_tasks: 1, train_base: false }, lr: 0.003 },
  { name: "MoLoRA", type: native("molora"), settings: { r: 4, n_experts: 4 }, lr: 0.003 },
  { name: "MoV", type: native("mov"), settings: { n_experts: 4 }, lr: 0.03 },
  { name: "mixture of LoRAs", type: native("mol"), settings: { r: 4, n_experts: 4 }, lr: 0.003 },
  { name: "MoSA", type: native("mosa"), settings: { r: 16, scale: 1 }, lr: 0.003 },
  { name: "MoSA shared down", type: native("mosa"), settings: { r: 16, scale: 1, share: "down" }, lr: 0.003 },
  { name: "LoRETTA adapters", type: native("loretta-adp"), settings: {}, lr: 0.01, targets: OUTPUTS },
  { name: "HyperFormer", type: native("hyperformer"), settings: { reduction: 8, embedding: 16, hidden: 32, projected: 16 }, lr: 0.003, targets: OUTPUTS },
];

interface Row {
  readonly name: string;
  readonly type: string;
  readonly parameters: number;
  readonly bytes: number;
  readonly loss: number;
  readonly exactMatch: number;
}

/** @param names of single families; all by default */
export async function measureFamilies(names: readonly string[], threads: number, log: (line: string) => void): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), "weightsmith-families-"));
  await makeData(join(work, "data"));
  const chosen = names.length === 0 ? ENTRIES : ENTRIES.filter(({ name }) => names.includes(name));
  const rows: Row[] = [];
  for (const entry of chosen) {
    const row = await measureFamily(entry, work, threads);
    log(
      `${row.name.padEnd(18)} ${String(row.parameters).padStart(7)} parameters, ${row.bytes} bytes, loss ${row.loss.toFixed(3)}, exact match ${row.exactMatch.toFixed(3)}`,
    );
    rows.push(row);
  }
  const base = await exactMatchOf(undefined, work);
  await rm(work, { recursive: true });
  await writeTable(rows, base);
}

async function measureFamily({ name, type, settings, lr, targets }: Entry, work: string, threads: number): Promise<Row> {
  const file = (split: string) => join(work, "data", `${TASK}.${split}.jsonl`);
  const all = { ...defaultSettings(type), ...settings };
  const config: TrainConfig = {
    ...TRAIN_DEFAULTS,
    model: BASE,
    data: { train: [file("train")], validation: [file("validation")] },
    method: { kind: "adapter", family: type, targetModules: targets ?? LORA.targetModules, dropout: 0, settings: all },
    optimizer: { ...TRAIN_DEFAULTS.optimizer, lr, betas: [0.9, 0.99], weightDecay: 0 },
    schedule: { warmupSteps: 5, floor: 0.1 },
    length: { steps: STEPS },
    batchSize: BATCH,
    seed: SEED,
  };
  const out = join(work, "adapter");
  const { parameters, validationLoss } = await train(config, out, { threads, overwrite: true });
  const { size: bytes } = await stat(join(out, "adapter_model.safetensors"));
  return { name, type, parameters, bytes, loss: validationLoss ?? Number.NaN, exactMatch: await exactMatchOf(out, work) };
}

/** On the task's test split, of the base with the adapter of this folder. */
async function exactMatchOf(adapter: string | undefined, work: string): Promise<number> {
  const model = await loadModel(BASE);
  const attached = adapter === undefined ? undefined : await attachAdapter(model.decoder, adapter);
  try {
    const decoder = attached?.decoderOf([]) ?? model.decoder;
    const found = await measureTasks({ ...model, decoder }, await readTaskData(join(work, "data"), [TASK], "test"));
    return found[TASK] ?? Number.NaN;
  } finally {
    attached?.dispose();
    disposeDecoder(model.decoder);
  }
}

/** Replaces what stands between the marks; rows of families that were not measured stay. */
async function writeTable(rows: readonly Row[], base: number): Promise<void> {
  const readme = await readFile("README.md", "utf8");
  const [begin, end] = ["<!-- families -->", "<!-- /families -->"];
  const [before, after] = [readme.indexOf(begin), readme.indexOf(end)];
  if (before < 0 || after < before) throw new Error(`README.md has no ${begin} ... ${end} block`);
  const folds = (type: string) => findFamily(type)?.foldable ?? "";
  const lineOf = (row: Row) =>
    [row.name, row.parameters.toLocaleString("en"), row.bytes.toLocaleString("en"), row.loss.toFixed(3), row.exactMatch.toFixed(3), folds(row.type)].join(
      " | ",
    );
  const old = readme.slice(before, after).split("\n");
  const lines = ENTRIES.flatMap(({ name }) => {
    const row = rows.find((measured) => measured.name === name);
    return row === undefined ? old.filter((line) => line.startsWith(`| ${name} |`)) : [`| ${lineOf(row)} |`];
  });
  const table = [
    `Each trained for ${STEPS} steps of ${BATCH} examples on the sample task \`${TASK}\` (the base alone: exact match ${base.toFixed(3)}), one seed, bf16 files, learning rates by family:`,
    "",
    "| family | parameters | file bytes | validation loss | exact match | folds |",
    "| --- | ---: | ---: | ---: | ---: | --- |",
    ...lines,
  ].join("\n");
  await writeFile("README.md", `${readme.slice(0, before + begin.length)}\n${table}\n${readme.slice(after)}`);
}
