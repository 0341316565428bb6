// LoRA of convolutions, with biases, and with rows of tokens, as PEFT writes it, and the weights PEFT merges it to (peft_layers.py).
import assert from "node:assert/strict";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describeAdapter } from "../../merge-core/adapters/describe-adapter.ts";
import { readAdapter } from "../../merge-core/adapters/read-adapter.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { combineAdapters } from "../../merge-core/run/combine-adapters.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { readTensors, type StoredTensor, valuesOf } from "./read-tensors.ts";

const ORACLES = "test/fixtures/oracles";
const FOLDER = `${ORACLES}/peft-layers`;
/** PEFT computes in float32 throughout. Its SVD leaves what PiSSA takes off the base up to 7.5e-6 away from what float64 gives. */
const toleranceOf = (name: string): number => (name.startsWith("pissa") ? 1e-5 : 1e-6);

const { bases } = JSON.parse(readFileSync(`${FOLDER}/provenance.json`, "utf8")) as { bases: Record<string, string> };

async function planned(model: string, adapter: string) {
  const text = `merge_method: passthrough\nmodels: [{model: {model: {path: ${model}}, lora: {path: ${adapter}}}}]\n`;
  const { recipe, diagnostics } = parseRecipe(text, "recipe.yml");
  assert.ok(recipe, JSON.stringify(diagnostics));
  return planMerge(recipe, modelOpener("recipe.yml"));
}

async function folded(model: string, adapter: string): Promise<Map<string, StoredTensor>> {
  const { plan, diagnostics } = await planned(model, adapter);
  assert.ok(plan, JSON.stringify(diagnostics));
  const out = join(temporaryFolder(), "out");
  await runMerge(plan, { out, threads: 2 });
  return readTensors(join(out, "model.safetensors"));
}

/** A stored adapter with another config, and tensors changed. */
async function changed(
  adapter: string,
  config: Readonly<Record<string, unknown>>,
  change: (name: string, tensor: StoredTensor) => StoredTensor | undefined = (_, tensor) => tensor,
): Promise<string> {
  const folder = join(temporaryFolder(), "adapter");
  cpSync(`${FOLDER}/${adapter}`, folder, { recursive: true });
  const file = join(folder, "adapter_config.json");
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...config }));
  const tensors = [...(await readTensors(join(folder, "adapter_model.safetensors")))].flatMap(([name, tensor]) => {
    const kept = change(name, tensor);
    return kept === undefined ? [] : [{ name, ...kept }];
  });
  writeFileSync(join(folder, "adapter_model.safetensors"), encodeSafetensors(tensors));
  return folder;
}

/** The code of what is wrong with an adapter for its base. */
async function refusal(base: string, adapter: string): Promise<string> {
  const { fits, findings } = await describeAdapter(adapter, await openCheckpoint(`${ORACLES}/${base}`));
  assert.equal(fits?.ok, false);
  return findings[0]?.code ?? "";
}

describe("LoRA beyond linear layers, written by PEFT", () => {
  for (const [name, base] of Object.entries(bases)) {
    it(`folds to the weights that PEFT merges, and leaves the others: ${name}`, async () => {
      const before = await readTensors(`${ORACLES}/${base}/model.safetensors`);
      const stored = [...(await readTensors(`${FOLDER}/${name}/merged.safetensors`))];
      // GPT-2's checkpoint has no prefix.
      const golden = new Map(stored.map(([tensor, value]) => [before.has(tensor) ? tensor : tensor.replace(/^transformer\./, ""), value]));
      const ours = await folded(`${ORACLES}/${base}`, `${FOLDER}/${name}`);
      assert.ok(golden.size > 0 && [...golden.keys()].every((tensor) => before.has(tensor)));
      for (const [tensor, { data, shape }] of before) {
        const expected = golden.get(tensor);
        assert.deepEqual(ours.get(tensor)?.shape, shape);
        if (expected === undefined) assert.deepEqual(ours.get(tensor)?.data, data, tensor);
        else {
          const theirs = valuesOf(expected);
          // A start that is left in the base would show.
          assert.ok(valuesOf(before.get(tensor)).some((x, i) => Math.abs(x - (theirs[i] ?? 0)) > 0.01));
          for (const [i, x] of valuesOf(ours.get(tensor)).entries()) assert.ok(Math.abs(x - (theirs[i] ?? Number.NaN)) <= toleranceOf(name), `${tensor}[${i}]`);
        }
      }
    });

    it(`is told of, and fits: ${name}`, async () => {
      const { fits, findings, type } = await describeAdapter(`${FOLDER}/${name}`, await openCheckpoint(`${ORACLES}/${base}`));
      assert.deepEqual([fits?.ok, findings], [true, []]);
      assert.equal(type, name === "tokens-alone" ? "TRAINABLE_TOKENS" : "LORA");
    });
  }

  for (const [name, rank] of [
    ["conv", undefined],
    ["conv", 3],
    ["conv-dora", 9],
  ] as const)
    it(`of convolutions is merged: ${name}${rank === undefined ? "" : ` to rank ${rank}`}`, async () => {
      const base = `${ORACLES}/${bases[name]}`;
      const out = join(temporaryFolder(), "both");
      const given = { adapters: [`${FOLDER}/${name}`, `${FOLDER}/${name}`], weights: [0.5, 1], out, rank, base: await openCheckpoint(base) };
      const { largestError } = await combineAdapters({ ...given, method: "exact" });
      assert.ok(largestError < 1e-6, String(largestError));
      const [golden, before, ours] = await Promise.all([
        readTensors(`${FOLDER}/${name}/merged.safetensors`),
        readTensors(`${base}/model.safetensors`),
        folded(base, out),
      ]);
      for (const [tensor, merged] of golden) {
        const [w, theirs] = [valuesOf(before.get(tensor)), valuesOf(merged)];
        for (const [i, x] of valuesOf(ours.get(tensor)).entries())
          assert.ok(Math.abs(x - ((w[i] ?? 0) + 1.5 * ((theirs[i] ?? Number.NaN) - (w[i] ?? 0)))) <= 3e-6, `${tensor}[${i}]`);
      }
    });

  it("is refused where biases or rows of tokens would be lost, with what to do", async () => {
    for (const name of ["pissa", "olora", "lora-bias", "conv-bias", "tokens", "tokens-by-name"]) {
      const { remedy } = await rejectsWith("adapter-type-unsupported", () => readAdapter(`${FOLDER}/${name}`));
      assert.match(remedy ?? "", /adapter fold/);
    }
  });

  it("is refused where it does not fit the base or its own config", async () => {
    const without = (part: string) => (name: string, tensor: StoredTensor) => (name.endsWith(part) ? undefined : tensor);
    const cases: readonly [string, string, string][] = [
      ["adapter-config-invalid", "llama-tiny", await changed("tokens", { trainable_token_indices: { embed: [7, 3, 1] } })],
      ["adapter-config-invalid", "llama-tiny", await changed("tokens", { trainable_token_indices: [7, 3, 3] })],
      ["adapter-shape-mismatch", "llama-tiny", await changed("tokens", { trainable_token_indices: [7, 3] })],
      ["adapter-shape-mismatch", "llama-tiny", await changed("tokens", { trainable_token_indices: [7, 3, 100_000] })],
      ["adapter-shape-mismatch", "llama-tiny", await changed("tokens-alone", { token_indices: [9, 100_000] })],
      ["adapter-shape-mismatch", "llama-tiny", await changed("tokens-alone", { token_indices: [9] })],
      ["adapter-incomplete", "qwen2-tiny", await changed("lora-bias", {}, without("layers.1.self_attn.q_proj.lora_B.bias"))],
      ["adapter-target-missing", "llama-tiny", `${FOLDER}/lora-bias`],
      [
        "adapter-shape-mismatch",
        "peft-layers/convolutions",
        await changed("conv", {}, (name, t) =>
          name.includes("square.lora_A") ? { ...t, shape: [2, 9, 3] } : name.includes("square.lora_B") ? { ...t, shape: [6, 2, 1] } : t,
        ),
      ],
      ["adapter-incomplete", "peft-layers/convolutions", await changed("conv", {}, (name, t) => (name.includes("point.lora_B") ? { ...t, shape: [4, 3] } : t))],
    ];
    for (const [code, base, adapter] of cases) assert.equal(await refusal(base, adapter), code, adapter);
  });
});
