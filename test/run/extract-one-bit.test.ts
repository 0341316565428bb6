// Models packed to signs and scales, and folded again.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { extractOneBit, type OneBitRequest } from "../../merge-core/run/extract-one-bit.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { randomWeights } from "../helpers/floats.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";

const SHAPES: Readonly<Record<string, readonly number[]>> = {
  "model.embed_tokens.weight": [5, 6],
  "model.layers.0.self_attn.q_proj.weight": [6, 6],
  "model.layers.0.self_attn.q_proj.bias": [6],
  "model.layers.0.mlp.up_proj.weight": [7, 6],
  "model.layers.0.input_layernorm.weight": [6],
  "lm_head.weight": [5, 6],
};
const GPT2: Readonly<Record<string, readonly number[]>> = { "transformer.h.0.attn.c_attn.weight": [4, 12], "transformer.h.0.mlp.c_fc.weight": [4, 9] };

function models(shapes = SHAPES, modelType = "llama", change = (values: Float32Array, _name: string) => values) {
  const folder = temporaryFolder();
  const write = (name: string, seed: number) =>
    writeModel(
      Object.entries(shapes).map(([tensor, shape], i) => {
        const values = randomWeights(
          shape.reduce((a, b) => a * b, 1),
          seed + i,
        );
        return floatTensor(tensor, shape, name === "tuned" ? change(values, tensor) : values);
      }),
      { folder: join(folder, name), config: { model_type: modelType, tie_word_embeddings: false } },
    );
  write("base", 1);
  write("tuned", 100);
  return folder;
}

async function pack(folder: string, layers: OneBitRequest["layers"]) {
  const [base, model] = [await openCheckpoint(join(folder, "base")), await openCheckpoint(join(folder, "tuned"))];
  return extractOneBit({ base, model, out: join(folder, "packed"), layers });
}

async function merged(folder: string, text: string): Promise<Record<string, Float32Array>> {
  const file = join(folder, "recipe.yml");
  const { recipe, diagnostics } = parseRecipe(text, file);
  assert.ok(recipe, JSON.stringify(diagnostics));
  const { plan, diagnostics: found } = await planMerge(recipe, modelOpener(file));
  assert.ok(plan, JSON.stringify(found));
  const out = join(temporaryFolder(), "out");
  await runMerge(plan, { out, threads: 1 });
  const { tensors } = await openCheckpoint(out);
  return Object.fromEntries(
    [...tensors.values()].map(({ name, file: shard, offset, byteLength }) => [
      name,
      widenToFloat32("F32", readFileSync(shard).subarray(offset, offset + byteLength)),
    ]),
  );
}

const restored = (folder: string) => merged(folder, "merge_method: passthrough\nmodels: [{ model: base+packed, parameters: { scale: 1 } }]\n");
const byMethod = (folder: string, compress: number) =>
  merged(folder, `merge_method: one_bit\nbase_model: base\nmodels: [{ model: tuned, parameters: { compress: ${compress} } }]\n`);

describe("one-bit task vectors", () => {
  for (const [layers, compress] of [
    ["attention", 1],
    ["mlp", 2],
    ["both", 3],
  ] as const)
    it(`of ${layers} give, folded into the base, what the method one_bit gives`, async () => {
      const folder = models();
      const { modules, whole } = await pack(folder, layers);
      assert.equal(modules.length + whole.length, 6);
      const [ours, method] = [await restored(folder), await byMethod(folder, compress)];
      assert.deepEqual(Object.keys(ours).sort(), Object.keys(SHAPES).sort());
      for (const [name, values] of Object.entries(ours)) {
        // What is stored whole comes back to the bit; base + (model - base) is rounded twice.
        const isPacked = !whole.includes(name);
        for (const [i, x] of values.entries())
          assert.ok(Math.abs(x - (method[name]?.[i] ?? Number.NaN)) <= (isPacked ? 0 : 2e-9), `${name} ${i}: ${x}, ${method[name]?.[i]}`);
      }
    });

  it("take a bit per weight, and tell what is lost of each matrix", async () => {
    const folder = models();
    const { modules, tensorBytes, modelBytes } = await pack(folder, "both");
    const { tensors } = await openCheckpoint(join(folder, "packed", "adapter_model.safetensors"));
    assert.equal(tensors.get("base_model.model.model.layers.0.mlp.up_proj.onebit_signs")?.byteLength, Math.ceil(42 / 8));
    assert.equal(
      tensorBytes,
      [...tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0),
    );
    assert.equal(modelBytes, 4 * (30 + 36 + 6 + 42 + 6 + 30));
    // Normal numbers lose sqrt(1 - 2 / pi) = 0.60 of their norm; six by six of them about that.
    for (const { relativeError } of modules) assert.ok(relativeError > 0.4 && relativeError < 0.8, String(relativeError));
  });

  it("of layers stored the other way round too", async () => {
    const folder = models(GPT2, "gpt2");
    const { modules } = await pack(folder, "both");
    assert.equal(modules.length, 2);
    assert.deepEqual(await restored(folder), await byMethod(folder, 3));
  });

  it("leave out what did not change", async () => {
    const folder = models(SHAPES, "llama", (values, name) =>
      name.endsWith("up_proj.weight") ? values : randomWeights(values.length, 1 + Object.keys(SHAPES).indexOf(name)),
    );
    const { modules, whole } = await pack(folder, "attention");
    assert.deepEqual([modules.length, whole], [0, ["model.layers.0.mlp.up_proj.weight"]]);
  });

  it("are refused of equal models and of NaN, and nothing is left behind", async () => {
    const equal = models(SHAPES, "llama", (values, name) => randomWeights(values.length, 1 + Object.keys(SHAPES).indexOf(name)));
    await rejectsWith("extract-nothing", () => pack(equal, "both"));
    const nan = models(SHAPES, "llama", (values) => values.fill(Number.NaN, 0, 1));
    await rejectsWith("non-finite", () => pack(nan, "both"));
    assert.ok(!existsSync(join(nan, "packed")));
  });
});
