// zoo.json for programs and README.md for people: both from the settings and the measurements.
import { TASKS } from "../../merge-core/evaluate/synthetic-tasks.ts";
import type { Measurement } from "./measure.ts";
import { ADAPTER_STAGE, BASE_STAGE, CONFIG, DESCRIPTIONS, EXPERT_STAGES, LORA, PRACTICE, SEED, SPLITS, type Stage } from "./settings.ts";

/** The contents of zoo.json; all paths relative to it. */
export function describeZoo(measured: readonly Measurement[]): object {
  return {
    seed: SEED,
    base: "base",
    tasks: TASKS.map((task) => ({
      name: task,
      description: DESCRIPTIONS[task],
      expert: task,
      adapter: `adapters/${task}`,
      validation: `data/${task}.validation.jsonl`,
      test: `data/${task}.test.jsonl`,
    })),
    splits: SPLITS,
    training: { practice: PRACTICE, base: BASE_STAGE, experts: EXPERT_STAGES, adapter: { ...ADAPTER_STAGE, lora: LORA } },
    measured,
  };
}

function stageLine(name: string, { steps, batchSize, optimizer: { lr }, schedule: { warmupSteps, floor } }: Stage): string {
  const rate = floor === 1 ? "then constant" : `then along a cosine down to ${floor} of it`;
  return `- ${name}: ${steps} steps of ${batchSize} examples, AdamW, learning rate ${lr} after ${warmupSteps} steps of warm-up, ${rate}.`;
}

export function zooReadme(measured: readonly Measurement[]): string {
  const row = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const table = [
    row(["model", ...TASKS]),
    row(["---", ...TASKS.map(() => "---:")]),
    ...measured.map(({ name, exactMatch }) => row([name, ...TASKS.map((task) => (exactMatch[task] ?? Number.NaN).toFixed(3))])),
  ];
  const { hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, vocab_size } = CONFIG;
  return `# Sample models

Written by \`npm run zoo\`, which trains everything here again from seed ${SEED} with this project's own trainer. Apache-2.0, like the rest.

One tiny Llama (${num_hidden_layers} layers, hidden size ${hidden_size}, ${num_attention_heads} heads, feed-forward ${intermediate_size}, ${vocab_size} tokens: one per byte and four special; bf16),
pre-trained as \`base\` on a mixture of all tasks, stopped early, and fine-tuned from it into one expert per task, once in full and once as a LoRA adapter (rank ${LORA.r}, all projections).

${TASKS.map((task) => `- \`${task}\`: ${DESCRIPTIONS[task]}.`).join("\n")}

Exact match on the held-out test splits (${SPLITS.sizes.test} examples each, greedy decoding; no test prompt occurs in any training data):

${table.join("\n")}

${stageLine("base", BASE_STAGE)}
${TASKS.map((task) => stageLine(`expert \`${task}\``, EXPERT_STAGES[task])).join("\n")}
${stageLine("adapters", ADAPTER_STAGE)}

\`base\` and the folders named after tasks are model folders in the Hugging Face layout; \`adapters/\` holds PEFT adapters on \`base\`; \`data/\` the test and validation
splits as JSONL; \`recipes/\` merge recipes; \`notebooks/\` three notebooks to start from; \`zoo.json\` all of this for programs.
`;
}
