// Tokens per second of a LoRA step here and by torch with PEFT, on the same shapes and as many threads, taking turns in one run.
//   npm run bench -- train-peers [--threads N] [--rounds N] [--model zoo|4.2M]
//   WEIGHTSMITH_PEER_PYTHON  a Python that has torch, transformers and peft (default: python3); without them nothing is measured
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import * as tf from "@tensorflow/tfjs-core";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { parseDecoderConfig } from "../../merge-core/nn/config.ts";
import type { TokenRow } from "../../merge-core/nn/data.ts";
import { PROJECTIONS } from "../../merge-core/nn/llama.ts";
import { createDecoder } from "../../merge-core/nn/load.ts";
import { ropeTable } from "../../merge-core/nn/rope.ts";
import { adapterTrainable } from "../../merge-core/train/adapter-trainable.ts";
import { TRAIN_DEFAULTS } from "../../merge-core/train/config.ts";
import { stepGradients } from "../../merge-core/train/gradients.ts";
import { makeOptimizer } from "../../merge-core/train/make-optimizer.ts";
import { defaultSettings } from "../../merge-core/train/make-trainable.ts";
import { globalNorm } from "../../merge-core/train/optimizer.ts";
import { testRandom, tinyConfigJson, tinyTensors } from "../helpers/tiny-decoder.ts";

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
if (spawnSync(python, ["-c", "import torch, transformers, peft"]).status !== 0) {
  console.log(`SKIPPED: ${python} has no torch, transformers and peft; install them there or name another Python in WEIGHTSMITH_PEER_PYTHON`);
  process.exit(0);
}

/** Of the fastest step; on a busy machine the processor time of one thread tells more. */
interface StepTime {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

function theirs({ config, batch, seq }: Case): StepTime {
  const settings = { threads, batch, seq, steps: STEPS, r: RANK, targets: PROJECTIONS };
  const { stdout, stderr, status } = spawnSync(python, ["test/bench/peers/lora_step.py", JSON.stringify(config), JSON.stringify(settings)], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as StepTime;
}

async function ours({ config, batch, seq }: Case): Promise<StepTime> {
  const decoder = parseDecoderConfig(config);
  const model = createDecoder(decoder, tinyTensors(decoder), "bench");
  const random = testRandom(5);
  const row = (): TokenRow => ({ tokens: Array.from({ length: seq + 1 }, () => Math.floor(((random() + 1) / 2) * decoder.vocabSize)), lossFrom: 1 });
  const rows = Array.from({ length: batch }, row);
  const method = { family: "LORA", targetModules: PROJECTIONS, dropout: 0, settings: { ...defaultSettings("LORA"), r: RANK, lora_alpha: 2 * RANK } };
  const trainable = await adapterTrainable(model, method, { ...TRAIN_DEFAULTS, model: "", data: { train: [""], validation: [] } });
  const optimizer = makeOptimizer(trainable.parameters, TRAIN_DEFAULTS.optimizer, 0);
  const table = ropeTable(decoder, seq);
  const times = Array.from({ length: STEPS }, (_, i) => {
    const start = performance.now();
    const busy = process.cpuUsage();
    const { gradients } = stepGradients(trainable.parameters, [rows], () => trainable.pass(rows, { name: String(i), progress: 0 }), table);
    optimizer.step(gradients, { lr: 1e-3, step: i + 1, gradientScale: Math.min(1, 1 / globalNorm(gradients)), rateOf: () => 1 });
    tf.dispose([...gradients.values()]);
    const { user, system } = process.cpuUsage(busy);
    return { seconds: (performance.now() - start) / 1000, cpuSeconds: (user + system) / 1e6 };
  });
  optimizer.dispose();
  trainable.dispose();
  const least = (of: (time: StepTime) => number) => Math.min(...times.slice(1).map(of));
  return { seconds: least(({ seconds }) => seconds), cpuSeconds: least(({ cpuSeconds }) => cpuSeconds) };
}

await initBackend({ threads });
console.log(`LoRA of rank ${RANK} on all projections, ${threads} threads; the fastest step of each round, the middle of the rounds' ratios`);
console.log("| model | here, tokens/s | torch + PEFT, tokens/s | ratio | ratio by processor time |");
console.log("| --- | --- | --- | --- | --- |");
for (const test of CASES.filter(({ name }) => name.startsWith(options.model))) {
  const tokens = test.batch * test.seq;
  const rounds: { here: StepTime; there: StepTime }[] = [];
  for (let round = 0; round < Number(options.rounds); round++) rounds.push({ there: theirs(test), here: await ours(test) });
  const middle = (of: (round: { here: StepTime; there: StepTime }) => number) =>
    rounds.map(of).sort((a, b) => a - b)[Math.floor(rounds.length / 2)] ?? Number.NaN;
  const figures = [middle(({ here }) => tokens / here.seconds), middle(({ there }) => tokens / there.seconds)].map((figure) => figure.toFixed(0));
  const ratios = [middle(({ here, there }) => there.seconds / here.seconds), middle(({ here, there }) => there.cpuSeconds / here.cpuSeconds)];
  console.log(`| ${[test.name, ...figures, ...ratios.map((ratio) => ratio.toFixed(2))].join(" | ")} |`);
}
process.exit(0);
