// Combining adapters: what is refused and told, and what other families and whole tensors give.
import assert from "node:assert/strict";
import { cpSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { adaptCheckpoint } from "../../merge-core/adapters/adapted-checkpoint.ts";
import { loraDelta } from "../../merge-core/adapters/lora.ts";
import { readPeftLora, writePeftLora } from "../../merge-core/adapters/peft-lora.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { type CombineRequest, combineAdapters } from "../../merge-core/run/combine-adapters.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { folderHashes } from "../helpers/trees.ts";
import { readTensors, valuesOf } from "../oracles/read-tensors.ts";

const ORACLES = "test/fixtures/oracles";
const [OFT, DORA] = [`${ORACLES}/peft-families/oft`, `${ORACLES}/peft/dora`];
const [LORA, LOHA, VERA] = [`${ORACLES}/peft/lora`, `${ORACLES}/peft-families/loha`, `${ORACLES}/peft-families/vera`];
const Q = "model.layers.0.self_attn.q_proj";

async function combined(adapters: readonly string[], changes: Partial<CombineRequest> = {}) {
  const out = join(temporaryFolder(), "out");
  return combineAdapters({ adapters, weights: adapters.map(() => 1), method: "exact", out, ...changes });
}

function changedConfig(adapter: string, config: Readonly<Record<string, unknown>>): string {
  const folder = join(temporaryFolder(), "adapter");
  cpSync(adapter, folder, { recursive: true });
  const file = join(folder, "adapter_config.json");
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...config }));
  return folder;
}

/** Change of a base weight by a stored adapter, from PEFT's merged weights. */
async function mergedDelta(adapter: string, tensor: string): Promise<Float64Array> {
  const [merged, base] = [await readTensors(`${adapter}/merged.safetensors`), await readTensors(`${ORACLES}/llama-tiny/model.safetensors`)];
  const before = valuesOf(base.get(tensor));
  return Float64Array.from(valuesOf(merged.get(tensor)), (x, i) => x - (before[i] ?? 0));
}

describe("combineAdapters", () => {
  it("adds up adapters of unlike families that are low-rank products", async () => {
    const base = await openCheckpoint(`${ORACLES}/llama-tiny`);
    const { out, warnings } = await combined([LORA, LOHA, VERA], { base, weights: [1, -0.5, 2] });
    const delta = loraDelta((await readPeftLora(out)).modules.get(Q) as never);
    const parts = await Promise.all([LORA, LOHA, VERA].map((adapter) => mergedDelta(adapter, `${Q}.weight`)));
    for (const [i, x] of delta.entries()) assert.ok(Math.abs(x - ((parts[0]?.[i] ?? 0) - 0.5 * (parts[1]?.[i] ?? 0) + 2 * (parts[2]?.[i] ?? 0))) < 2e-6);
    assert.deepEqual([...new Set(warnings.map(({ code }) => code))], ["adapter-modules-differ"]);
    assert.match(warnings[0]?.found ?? "", /^no model\.layers/);
  });

  it("adds up what rotations, mirrors and magnitudes make of the untouched base, and tells what a rank loses", async () => {
    const base = await openCheckpoint(`${ORACLES}/llama-tiny`);
    const [adapters, weights] = [
      [LORA, OFT, DORA, `${ORACLES}/peft-families/hra`],
      [0.5, -1, 2, 0.25],
    ];
    const parts = await Promise.all(adapters.map((adapter) => mergedDelta(adapter, `${Q}.weight`)));
    const sum = parts[0]?.map((_, i) => parts.reduce((total, part, k) => total + (weights[k] ?? 0) * (part[i] ?? 0), 0)) ?? new Float64Array();
    const lengthOf = (x: Float64Array) => Math.hypot(...x);
    const deltaIn = async (out: string) => loraDelta((await readPeftLora(out)).modules.get(Q) as never);
    const whole = await combined(adapters, { base, weights });
    const delta = await deltaIn(whole.out);
    for (const [i, x] of delta.entries()) assert.ok(Math.abs(x - (sum[i] ?? 9)) < 5e-6, `${x} for ${sum[i]}`);
    assert.ok(whole.largestError < 1e-5, `${whole.largestError}`);
    const { out, modules } = await combined(adapters, { base, weights, rank: 3 });
    const told = modules.find(({ module }) => module === Q);
    const left = (await deltaIn(out)).map((x, i) => x - (sum[i] ?? 0));
    assert.equal(told?.rank, 3);
    assert.ok(Math.abs(lengthOf(left) / lengthOf(sum) - (told?.relativeError ?? 0)) < 1e-4 && (told?.relativeError ?? 0) > 0.01, `${told?.relativeError}`);
    // One adapter at weight one is itself, elected signs and all.
    const alone = await combined([OFT], { base, method: "ties_svd", rank: 99 });
    const own = await mergedDelta(OFT, `${Q}.weight`);
    for (const [i, x] of (await deltaIn(alone.out)).entries()) assert.ok(Math.abs(x - (own[i] ?? 9)) < 5e-6);
  });

  it("needs no base for changes that are the same for any, though they are no products", async () => {
    const [lokr, shira] = [`${ORACLES}/peft-families/lokr-full`, `${ORACLES}/peft-families/shira`];
    const { out, largestError } = await combined([LORA, lokr, shira], { weights: [1, 2, -1] });
    const parts = await Promise.all([LORA, lokr, shira].map((adapter) => mergedDelta(adapter, `${Q}.weight`)));
    const delta = loraDelta((await readPeftLora(out)).modules.get(Q) as never);
    for (const [i, x] of delta.entries()) assert.ok(Math.abs(x - ((parts[0]?.[i] ?? 9) + 2 * (parts[1]?.[i] ?? 9) - (parts[2]?.[i] ?? 9))) < 5e-6);
    assert.ok(largestError < 1e-5);
    // These do not tell the sides of their layers, which no LoRA does for them here.
    await rejectsWith("adapter-base-needed", () => combined([lokr]));
  });

  it("keeps embeddings, Conv1D and the places of trained biases", async () => {
    for (const [name, base] of [
      ["embedding", "llama-tiny"],
      ["conv1d", "gpt2-tiny"],
      ["biases", "qwen2-tiny"],
    ] as const) {
      const adapter = `${ORACLES}/peft/${name}`;
      const { out } = await combined([adapter]);
      const [ours, theirs] = [await readTensors(join(out, "adapter_model.safetensors")), await readTensors(`${adapter}/adapter_model.safetensors`)];
      assert.deepEqual([...ours.keys()].sort(), [...theirs.keys()].sort());
      const adapted = await adaptCheckpoint(await openCheckpoint(`${ORACLES}/${base}`), out);
      assert.ok([...adapted.tensors.values()].some(({ lora }) => lora !== undefined));
    }
  });

  it("takes whole tensors of one adapter as they are, and averages those of several, saying so", async () => {
    const saved = `${ORACLES}/peft/saved`;
    const { out, warnings } = await combined([saved, saved], { weights: [3, 1] });
    assert.ok(warnings.some(({ code, found }) => code === "adapter-whole-tensors" && /3, 3 of them averaged/.test(found ?? "")));
    const [ours, theirs] = [await readTensors(join(out, "adapter_model.safetensors")), await readTensors(`${saved}/adapter_model.safetensors`)];
    const head = "base_model.model.lm_head.weight";
    assert.deepEqual(valuesOf(ours.get(head)), valuesOf(theirs.get(head)));
    assert.deepEqual(JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8")).modules_to_save, ["input_layernorm", "lm_head"]);
    await rejectsWith("adapter-weights-cancel", () => combined([saved, saved], { weights: [1, -1] }));
  });

  it("warns of adapters for different bases", async () => {
    const { warnings } = await combined([LORA, changedConfig(LORA, { base_model_name_or_path: "other/model" })]);
    assert.deepEqual(
      warnings.map(({ code, found }) => [code, found]),
      [["adapter-bases-differ", "other/model"]],
    );
  });

  for (const [what, code, adapters, changes] of [
    ["ranks that differ where factors are combined", "adapter-rank-mismatch", [LORA, `${ORACLES}/peft/rslora`], { method: "linear" }],
    ["families without factors, without a base", "adapter-base-needed", [LORA, OFT], {}],
    ["DoRA, without a base", "adapter-base-needed", [LORA, DORA], {}],
    ["methods for factors of LoRA on rotations", "adapter-family-unlike", [LORA, OFT], { method: "linear" }],
    ["adapters that change no matrices", "adapter-family-unlike", [LORA, `${ORACLES}/peft-families/ln-tuning`], {}],
    ["methods for factors of LoRA on others", "adapter-family-unlike", [LORA, LOHA], { method: "ties" }],
    ["families that need the base, without it", "adapter-base-needed", [VERA], {}],
    ["a wrong number of weights", "usage", [LORA, LOHA], { weights: [1] }],
    ["a rank that the config contradicts", "adapter-rank-mismatch", [changedConfig(LORA, { r: 7 })], {}],
    ["a missing alpha", "adapter-alpha-missing", [changedConfig(LORA, { lora_alpha: undefined })], {}],
  ] as const) {
    it(`refuses ${what}, and leaves nothing behind`, async () => {
      const out = join(temporaryFolder(), "out");
      await rejectsWith(code, () => combineAdapters({ adapters, weights: adapters.map(() => 1), method: "exact", out, ...changes }));
      assert.ok(!existsSync(out) && !existsSync(`${out}.partial`));
    });
  }

  it("refuses layers of other sizes, naming the module", async () => {
    const other = join(temporaryFolder(), "other");
    const factors = { r: 1, inFeatures: 4, outFeatures: 5, a: new Float32Array(4), b: new Float32Array(5), scale: 1 };
    await writePeftLora({ r: 1, alpha: 1, dropout: 0, targetModules: ["q_proj"], baseModel: undefined, modules: new Map([[Q, factors]]) }, other);
    const { message, found, expected } = await rejectsWith("adapter-shape-mismatch", () => combined([LORA, other]));
    assert.deepEqual([message, found], [`the adapter does not fit ${Q}`, "5 outputs of 4 inputs"]);
    assert.match(expected ?? "", /^16 outputs of 16 inputs/);
  });

  it("drops at random by seed and adapter, the same each time, and to the right mean", async () => {
    const hashes = async (seed: number) =>
      folderHashes((await combined([LORA, LORA], { method: "dare_linear", density: 0.5, seed })).out)["adapter_model.safetensors"];
    assert.equal(await hashes(1), await hashes(1));
    assert.notEqual(await hashes(1), await hashes(2));
    const { out } = await combined([LORA], { method: "dare_linear", density: 0.5, weights: [1] });
    const [ours, theirs] = [(await readPeftLora(out)).modules, (await readPeftLora(LORA)).modules];
    const ratios = [...ours].flatMap(([module, { a }]) => [...a].map((x, i) => x / (theirs.get(module)?.a[i] ?? 0)));
    const kept = ratios.filter((ratio) => ratio !== 0);
    // A takes the root of the scale of 2, and what is kept is doubled.
    assert.ok(kept.every((ratio) => Math.abs(ratio - 2 * Math.SQRT2) < 1e-5));
    assert.ok(Math.abs(kept.length / ratios.length - 0.5) < 0.06, String(kept.length / ratios.length));
  });

  it("works on the changes element by element where the name says so: draws, and elections by sums or by counts", async () => {
    const deltaIn = async (folder: string) => loraDelta((await readPeftLora(folder)).modules.get(Q) as never);
    const adapters = [LORA, `${ORACLES}/peft/rslora`, `${ORACLES}/peft/patterns`];
    const own = await Promise.all(adapters.map(deltaIn));
    const weights = [1, -2, 0.5];
    for (const majority of ["total", "frequency"] as const) {
      const found = await deltaIn((await combined(adapters, { method: "ties_svd", rank: 99, weights, majority })).out);
      for (const [i, x] of found.entries()) {
        const values = own.map((delta) => delta[i] as number);
        const vote = values.reduce((sum, value) => sum + (majority === "total" ? value : Math.sign(value)), 0);
        const agreeing = values.map((value) => (vote >= 0 ? value > 0 : value < 0));
        const sum = values.reduce((total, value, k) => total + (agreeing[k] ? (weights[k] as number) * value : 0), 0);
        assert.ok(Math.abs(x - sum / Math.max(1, agreeing.filter(Boolean).length)) < 1e-5, `${majority}: ${x} at ${i}`);
      }
    }
    const drawn = await deltaIn((await combined([LORA], { method: "dare_linear_svd", rank: 99, density: 0.5 })).out);
    const kept = drawn.filter((x, i) => Math.abs(x - 2 * (own[0]?.[i] as number)) < 1e-5 && Math.abs(x) > 1e-4).length;
    const dropped = drawn.filter((x) => Math.abs(x) < 1e-5).length;
    assert.ok(Math.abs(kept / drawn.length - 0.5) < 0.1 && kept + dropped > 0.95 * drawn.length, `${kept} and ${dropped} of ${drawn.length}`);
  });

  it("gives the same bytes for any threads, and starts anew after an interruption", async () => {
    const out = join(temporaryFolder(), "out");
    const controller = new AbortController();
    const adapters = [LORA, `${ORACLES}/peft/rslora`];
    const request = { adapters, weights: [1, 2], method: "ties_svd" as const, rank: 3, density: 0.4, out };
    await rejectsWith("cancelled", () => combineAdapters({ ...request, signal: controller.signal, onProgress: (done) => done === 3 && controller.abort() }));
    assert.ok(!existsSync(out));
    await combineAdapters({ ...request, threads: 2 });
    const { out: other } = await combined(adapters, { ...request, out: join(temporaryFolder(), "out"), threads: 1 });
    assert.equal(folderHashes(out)["adapter_model.safetensors"], folderHashes(other)["adapter_model.safetensors"]);
  });
});
