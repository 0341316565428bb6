// Adapters taken out of models that PEFT's or our own changes were folded into.
import assert from "node:assert/strict";
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loraDelta } from "../../merge-core/adapters/lora.ts";
import { readPeftLora } from "../../merge-core/adapters/peft-lora.ts";
import { readAdapter } from "../../merge-core/adapters/read-adapter.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { narrowFromFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { type ExtractRequest, extractAdapter } from "../../merge-core/run/extract-adapter.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { testRandom } from "../helpers/tiny-decoder.ts";
import { readTensors, type StoredTensor, valuesOf } from "../oracles/read-tensors.ts";

const ORACLES = "test/fixtures/oracles";
const LLAMA = `${ORACLES}/llama-tiny`;

/** A model folder with some tensors replaced, renamed or (undefined) left out. */
async function changed(
  base: string,
  change: (name: string, tensor: StoredTensor) => readonly [string, StoredTensor] | undefined,
  config: Readonly<Record<string, unknown>> = {},
) {
  const folder = join(temporaryFolder(), "model");
  cpSync(base, folder, { recursive: true });
  const tensors = [...(await readTensors(`${base}/model.safetensors`))].flatMap(([name, tensor]) => {
    const result = change(name, tensor);
    return result === undefined ? [] : [{ name: result[0], ...result[1] }];
  });
  writeFileSync(join(folder, "model.safetensors"), encodeSafetensors(tensors));
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...JSON.parse(readFileSync(join(base, "config.json"), "utf8")), ...config }));
  return folder;
}

const noisy = (tensor: StoredTensor, seed: number): StoredTensor => {
  const random = testRandom(seed);
  return {
    ...tensor,
    data: narrowFromFloat32(
      "F32",
      valuesOf(tensor).map((x) => x + 0.1 * random()),
    ),
  };
};

async function folded(base: string, adapter: string): Promise<string> {
  const { recipe } = parseRecipe(`merge_method: passthrough\nmodels: [{model: {model: {path: ${base}}, lora: {path: ${adapter}}}}]\n`, "recipe.yml");
  assert.ok(recipe);
  const { plan, diagnostics } = await planMerge(recipe, modelOpener("recipe.yml"));
  assert.ok(plan, JSON.stringify(diagnostics));
  const out = join(temporaryFolder(), "out");
  await runMerge(plan, { out });
  return out;
}

async function extracted(base: string, model: string, options: Partial<ExtractRequest>) {
  const out = join(temporaryFolder(), "out");
  return extractAdapter({ base: await openCheckpoint(base), model: await openCheckpoint(model), out, ...options });
}

async function assertSameModel(ours: string, theirs: string, within: number): Promise<void> {
  const [x, y] = [await readTensors(`${ours}/model.safetensors`), await readTensors(`${theirs}/model.safetensors`)];
  assert.deepEqual([...x.keys()].sort(), [...y.keys()].sort());
  for (const [name, tensor] of x) {
    const other = y.get(name);
    if (tensor.dtype !== "F32") assert.deepEqual(tensor.data, other?.data);
    else for (const [i, value] of valuesOf(tensor).entries()) assert.ok(Math.abs(value - (valuesOf(other)[i] ?? Number.NaN)) <= within, `${name}[${i}]`);
  }
}

describe("extractAdapter", () => {
  for (const [name, base, rank] of [
    ["lora", "llama-tiny", 4],
    ["patterns", "llama-tiny", 6],
    ["conv1d", "gpt2-tiny", 4],
    ["embedding", "llama-tiny", 2],
    ["biases", "qwen2-tiny", 2],
  ] as const) {
    it(`finds again what was folded in, of the same rank: ${name}`, async () => {
      const model = await folded(`${ORACLES}/${base}`, `${ORACLES}/peft/${name}`);
      const { out, relativeError, modules } = await extracted(`${ORACLES}/${base}`, model, { rank });
      assert.ok(relativeError < 1e-5, String(relativeError));
      assert.ok(modules.every((module) => module.rank <= rank));
      await assertSameModel(await folded(`${ORACLES}/${base}`, out), model, 1e-6);
    });
  }

  it("tells what a lower rank loses, and finds the smallest rank that keeps an energy", async () => {
    const model = await changed(LLAMA, (name, tensor) => [
      name,
      /q_proj|up_proj/.test(name) ? noisy(tensor, name.length + Number(name.includes("1"))) : tensor,
    ]);
    const before = await readTensors(`${LLAMA}/model.safetensors`);
    const after = await readTensors(`${model}/model.safetensors`);
    const { out, modules } = await extracted(LLAMA, model, { rank: 3 });
    const adapter = await readPeftLora(out);
    assert.equal(modules.length, 4);
    for (const { module, relativeError } of modules) {
      const [w0, w1] = [valuesOf(before.get(`${module}.weight`)), valuesOf(after.get(`${module}.weight`))];
      const delta = loraDelta(adapter.modules.get(module) as never);
      const change = w1.map((x, i) => x - (w0[i] ?? 0));
      const error = Math.hypot(...change.map((x, i) => x - (delta[i] ?? 0))) / Math.hypot(...change);
      assert.ok(Math.abs(error - relativeError) < 1e-5, `${error} and ${relativeError}`);
    }
    const { modules: enough } = await extracted(LLAMA, model, { energy: 0.9 });
    for (const { module, rank, relativeError } of enough) {
      assert.ok(relativeError ** 2 <= 0.1, `${module} loses ${relativeError}`);
      const fewer = (await extracted(LLAMA, model, { rank: rank - 1 })).modules.find((other) => other.module === module);
      assert.ok((fewer?.relativeError ?? 0) ** 2 > 0.1);
    }
    const { modules: bounded } = await extracted(LLAMA, model, { energy: 0.999, rank: 2 });
    assert.ok(bounded.every(({ rank }) => rank === 2));
  });

  it("stores norms whole, and everything that it stores comes back", async () => {
    const model = await changed(LLAMA, (name, tensor) => [name, /norm|v_proj|lm_head/.test(name) ? noisy(tensor, name.length) : tensor]);
    const { out, whole } = await extracted(LLAMA, model, { rank: 16 });
    assert.deepEqual([...whole].sort(), [
      "model.layers.0.input_layernorm",
      "model.layers.0.post_attention_layernorm",
      "model.layers.1.input_layernorm",
      "model.layers.1.post_attention_layernorm",
      "model.norm",
    ]);
    await assertSameModel(await folded(LLAMA, out), model, 1e-6);
  });

  it("stores an embedding whole that is the head too, or whose vocabulary has grown, saying so", async () => {
    const tied = `${ORACLES}/llama-tied`;
    const model = await changed(tied, (name, tensor) => [name, name.includes("embed_tokens") ? noisy(tensor, 1) : tensor]);
    const { out, whole, warnings } = await extracted(tied, model, { rank: 2 });
    assert.deepEqual([whole, warnings.map(({ code }) => code)], [["model.embed_tokens"], ["extract-embedding-tied"]]);
    assert.equal(JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8")).ensure_weight_tying, true);
    await assertSameModel(await folded(tied, out), model, 0);
    assert.ok((await readTensors(join(out, "adapter_model.safetensors"))).has("base_model.model.lm_head.weight"));
    // PEFT wants factors in every adapter: those of one module are zeros.
    assert.equal((await readAdapter(out)).modules.size, 1);
    const other = await changed(tied, (name, tensor) => [name, name.includes("q_proj") ? noisy(tensor, 1) : tensor]);
    const without = await extracted(tied, other, { rank: 2 });
    assert.deepEqual([without.whole, without.warnings], [[], []]);
    assert.equal(JSON.parse(readFileSync(join(without.out, "adapter_config.json"), "utf8")).ensure_weight_tying, undefined);
    const grown = await changed(
      LLAMA,
      (name, tensor) => [
        name,
        /embed_tokens|lm_head/.test(name) ? { ...tensor, shape: [66, 16], data: Buffer.concat([tensor.data, new Uint8Array(2 * 16 * 4)]) } : tensor,
      ],
      { vocab_size: 66 },
    );
    const larger = await extracted(LLAMA, grown, { rank: 2 });
    assert.deepEqual(
      larger.warnings.map(({ code, found }) => [code, found]),
      [
        ["extract-vocabulary-differs", "66 rows"],
        ["extract-vocabulary-differs", "66 rows"],
      ],
    );
    assert.deepEqual([...larger.whole].sort(), ["lm_head", "model.embed_tokens"]);
  });

  it("gives the same bytes for any number of threads", async () => {
    const model = await changed(LLAMA, (name, tensor) => [name, name.includes("proj") ? noisy(tensor, name.length) : tensor]);
    const files = await Promise.all(
      [1, 2].map(async (threads) => readFileSync(join((await extracted(LLAMA, model, { rank: 4, threads })).out, "adapter_model.safetensors"))),
    );
    assert.deepEqual(files[0], files[1]);
  });

  const Q = "model.layers.0.self_attn.q_proj.weight";
  for (const [what, code, change] of [
    ["equal models", "extract-nothing", (name: string, tensor: StoredTensor) => [name, tensor] as const],
    [
      "a tensor that the base lacks",
      "extract-tensor-missing",
      (name: string, tensor: StoredTensor) => [name === Q ? name.replace("q_proj", "qproj") : name, tensor] as const,
    ],
    [
      "layers of another size",
      "extract-shape-differs",
      (name: string, tensor: StoredTensor) => [name, name === Q ? { ...tensor, shape: [8, 32] } : tensor] as const,
    ],
    [
      "values that are not finite",
      "non-finite",
      (name: string, tensor: StoredTensor) => [name, name === Q ? { ...tensor, data: tensor.data.map(() => 255) } : tensor] as const,
    ],
  ] as const) {
    it(`refuses ${what}, and leaves no output`, async () => {
      const out = join(temporaryFolder(), "out");
      const model = await changed(LLAMA, change);
      const diagnostic = await rejectsWith(code, () => extracted(LLAMA, model, { rank: 2, out }));
      if (code === "extract-tensor-missing") assert.match(diagnostic.found ?? "", /nearest model\.layers\.0\.self_attn\.q_proj\.weight/);
      assert.ok(!existsSync(out));
    });
  }
});
