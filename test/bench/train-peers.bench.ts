// Tokens per second of a LoRA step here and by torch with PEFT, on the same shapes and as many threads, taking turns in one run, and where the
// time of our steps goes.
//   npm run bench -- train-peers [--threads N] [--rounds N] [--model zoo|4.2M]
//   WEIGHTSMITH_PEER_PYTHON  a Python that has torch, transformers and peft (default: python3); without them only our own steps are measured
//   WEIGHTSMITH_BLAS         the library for the second of our figures, where it is in no usual place
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import { type Blas, loadBlas } from "../../merge-core/compute/providers/blas.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { type DecoderConfig, parseDecoderConfig } from "../../merge-core/nn/config.ts";
import type { TokenRow } from "../../merge-core/nn/data.ts";
import { PROJECTIONS } from "../../merge-core/nn/llama.ts";
import { createDecoder, type TensorData } from "../../merge-core/nn/load.ts";
import { ropeTable } from "../../merge-core/nn/rope.ts";
import { adapterTrainable } from "../../merge-core/train/adapter-trainable.ts";
import { TRAIN_DEFAULTS } from "../../merge-core/train/config.ts";
import { stepGradients } from "../../merge-core/train/gradients.ts";
import { makeOptimizer } from "../../merge-core/train/make-optimizer.ts";
import { defaultSettings } from "../../merge-core/train/make-trainable.ts";
import { globalNorm } from "../../merge-core/train/optimizer.ts";
import { testRandom, tinyConfigJson, tinyTensors } from "../helpers/tiny-decoder.ts";
import { partsOf, STEP_PARTS, timeKernels } from "./step-profile.ts";

interface Case {
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly batch: number;
  readonly seq: number;
}

const SMALL = { hidden_size: 256, intermediate_size: 688, num_hidden_layers: 4, num_attention_heads: 4, num_key_value_heads: 4, head_dim: 64 };
const CASES: readonly Case[] = [
  { name: "zoo model, 64 x 24 tokens", config: JSON.parse(readFileSync("media/zoo/base/config.json", "utf8")), batch: 64, seq: 24 },
  {
    name: "4.2M parameters, 8 x 128 tokens",
    config: tinyConfigJson({ ...SMALL, vocab_size: 2048, max_position_embeddings: 256, rope_theta: 10000 }),
    batch: 8,
    seq: 128,
  },
];
const [RANK, STEPS] = [8, 5];

const { values: options } = parseArgs({
  options: { threads: { type: "string" }, rounds: { type: "string", default: "3" }, model: { type: "string", default: "" } },
});
const threads = Number(options.threads ?? availableParallelism());
const python = process.env.WEIGHTSMITH_PEER_PYTHON ?? "python3";
const hasPeer = spawnSync(python, ["-c", "import torch, transformers, peft"]).status === 0;
if (!hasPeer) console.log(`without torch: ${python} has no torch, transformers and peft; install them there or name another Python in WEIGHTSMITH_PEER_PYTHON`);
const blas = await loadBlas(1).catch(() => undefined);
if (blas === undefined) console.log("without BLAS: no library was found, or koffi is not installed; name one in WEIGHTSMITH_BLAS");

/** Of the fastest step; on a busy machine the processor time of one thread tells more. */
interface StepTime {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

/** With the seconds of each part. */
interface OurStep extends StepTime {
  readonly parts: ReadonlyMap<string, number>;
}

function theirs({ config, batch, seq }: Case): StepTime {
  const settings = { threads, batch, seq, steps: STEPS, r: RANK, targets: PROJECTIONS };
  const { stdout, stderr, status } = spawnSync(python, ["test/bench/peers/lora_step.py", JSON.stringify(config), JSON.stringify(settings)], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as StepTime;
}

/** Weights as transformers starts with them: others saturate the softmax. */
function startWeights(decoder: DecoderConfig): Map<string, TensorData> {
  const narrow = ({ data, ...rest }: TensorData) => ({ ...rest, data: new Uint8Array(new Float32Array(data.slice().buffer).map((x) => x * 0.07).buffer) });
  return new Map([...tinyTensors(decoder)].map(([name, tensor]) => [name, /norm/.test(name) ? tensor : narrow(tensor)]));
}

async function ours({ config, batch, seq }: Case, library: Blas | undefined): Promise<OurStep> {
  await initBackend({ threads, blas: library });
  const decoder = parseDecoderConfig(config);
  const model = createDecoder(decoder, startWeights(decoder), "bench");
  const random = testRandom(5);
  const row = (): TokenRow => ({ tokens: Array.from({ length: seq + 1 }, () => Math.floor(((random() + 1) / 2) * decoder.vocabSize)), lossFrom: 1 });
  const rows = Array.from({ length: batch }, row);
  const method = { family: "LORA", targetModules: PROJECTIONS, dropout: 0, settings: { ...defaultSettings("LORA"), r: RANK, lora_alpha: 2 * RANK } };
  const trainable = await adapterTrainable(model, method, { ...TRAIN_DEFAULTS, model: "", data: { train: [""], validation: [] } });
  const optimizer = makeOptimizer(trainable.parameters, TRAIN_DEFAULTS.optimizer, 0);
  const table = ropeTable(decoder, seq);
  const times = Array.from({ length: STEPS }, (_, i) => {
    kernels.take();
    const start = performance.now();
    const busy = process.cpuUsage();
    const { gradients } = stepGradients(trainable.parameters, [rows], () => trainable.pass(rows, { name: String(i), progress: 0 }), table);
    const before = performance.now();
    optimizer.step(gradients, { lr: 1e-3, step: i + 1, gradientScale: Math.min(1, 1 / globalNorm(gradients)), rateOf: () => 1 });
    const optimiser = performance.now() - before;
    tf.dispose([...gradients.values()]);
    const { user, system } = process.cpuUsage(busy);
    const seconds = (performance.now() - start) / 1000;
    return { seconds, cpuSeconds: (user + system) / 1e6, parts: partsOf(kernels.take(), optimiser / 1000, seconds) };
  });
  optimizer.dispose();
  trainable.dispose();
  return times.slice(1).reduce((best, time) => (time.seconds < best.seconds ? { ...time, cpuSeconds: Math.min(time.cpuSeconds, best.cpuSeconds) } : best));
}

await initBackend({ threads });
const kernels = timeKernels();
const engines = blas === undefined ? [undefined] : [undefined, blas];
const titleOf = (library: Blas | undefined) => (library === undefined ? "WebAssembly" : library.name);
const measured = CASES.filter(({ name }) => name.startsWith(options.model)).map((test) => ({ test, rounds: [] as { there?: StepTime; here: OurStep[] }[] }));
for (const { test, rounds } of measured)
  for (let round = 0; round < Number(options.rounds); round++) {
    const here: OurStep[] = [];
    for (const library of engines) here.push(await ours(test, library));
    rounds.push({ ...(hasPeer ? { there: theirs(test) } : {}), here });
  }

const middle = (figures: readonly number[]): number => figures.toSorted((a, b) => a - b)[Math.floor(figures.length / 2)] ?? Number.NaN;
console.log(`LoRA of rank ${RANK} on all projections, ${threads} threads; the fastest step of each round, the middle of the rounds' ratios`);
console.log("| model | products by | here, tokens/s | torch + PEFT, tokens/s | ratio | ratio by processor time |\n| --- | --- | --- | --- | --- | --- |");
for (const { test, rounds } of measured)
  for (const [i, library] of engines.entries()) {
    const tokens = test.batch * test.seq;
    const of = (figure: (here: OurStep, there: StepTime) => number) =>
      middle(rounds.flatMap(({ here, there = { seconds: Number.NaN, cpuSeconds: Number.NaN } }) => figure(here[i] as OurStep, there)));
    const rates = [of((here) => tokens / here.seconds), of((_, there) => tokens / there.seconds)].map((rate) => rate.toFixed(0));
    const ratios = [of((here, there) => there.seconds / here.seconds), of((here, there) => there.cpuSeconds / here.cpuSeconds)].map((ratio) =>
      ratio.toFixed(2),
    );
    console.log(`| ${[test.name, titleOf(library), ...rates, ...ratios].join(" | ")} |`);
  }
console.log(
  `\nWhere the time of a step goes\n| model | products by | ms | ${STEP_PARTS.join(" | ")} |\n| --- | --- | --- | ${STEP_PARTS.map(() => "---").join(" | ")} |`,
);
for (const { test, rounds } of measured)
  for (const [i, library] of engines.entries()) {
    const best = rounds.map(({ here }) => here[i] as OurStep).reduce((a, b) => (b.seconds < a.seconds ? b : a));
    const shares = STEP_PARTS.map((part) => `${((100 * (best.parts.get(part) ?? 0)) / best.seconds).toFixed(1)} %`);
    console.log(`| ${[test.name, titleOf(library), (1000 * best.seconds).toFixed(0), ...shares].join(" | ")} |`);
  }
process.exit(0);
