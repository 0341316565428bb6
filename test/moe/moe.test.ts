// Mixtures of experts: what is refused and why, the same bytes again, stopping and going on. The numbers are compared with mergekit's in test/oracles.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { GateMode } from "../../merge-core/moe/config.ts";
import { type MoeRequest, makeMoe } from "../../merge-core/moe/make-moe.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import type { MergeResult, RunOptions } from "../../merge-core/run/execute.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { folderHashes } from "../helpers/trees.ts";
import { readTensors, valuesOf } from "../oracles/read-tensors.ts";

const MODELS = "test/fixtures/oracles/moe/models";
const model = (name: string): string => `${MODELS}/${name}`;

interface Settings {
  readonly base?: string;
  readonly experts?: readonly object[];
  readonly gate_mode?: GateMode;
  readonly more?: object;
}

const expert = (name: string, positive_prompts: readonly string[] = [], more: object = {}): object => ({
  source_model: model(name),
  positive_prompts,
  ...more,
});
const TWO = [expert("llama-a", ["the rain"]), expert("llama-b", ["one and two"])];

/** JSON is YAML. */
const configText = ({ base = model("llama-base"), experts = TWO, gate_mode = "cheap_embed", more = {} }: Settings): string =>
  JSON.stringify({ base_model: base, experts, gate_mode, ...more }, null, 1);

async function make(settings: Settings, run: Partial<RunOptions> & Partial<MoeRequest> = {}): Promise<MergeResult & { layout: string }> {
  const folder = temporaryFolder();
  const { out = join(folder, "out"), threads = 1, gates = join(folder, "gates"), seed = 0, signal, onProgress, onGates, allowSame = false } = run;
  const request = { text: configText(settings), file: "moe.yml", open: modelOpener("moe.yml"), seed, memoryBytes: 2 ** 28, gates, threads, onGates, allowSame };
  return makeMoe({ ...request, signal }, { out, threads, ...(signal && { signal }), ...(onProgress && { onProgress }) });
}

const tensorsOf = (folder: string) => readTensors(join(folder, "model.safetensors"));

describe("weightsmith moe", () => {
  it("says what is wrong with a config, and where", async () => {
    const cases: [string, Settings][] = [
      ["config-invalid-value", { base: "" }],
      ["moe-too-few-experts", { experts: TWO.slice(0, 1) }],
      ["moe-too-few-experts", { experts: [], more: { experts_per_token: 1 } }],
      ["moe-no-prompts", { experts: [expert("llama-a"), ...TWO] }],
      ["moe-equal-prompts", { experts: [expert("llama-a", ["x"]), expert("llama-b", ["x"])] }],
      ["moe-equal-experts", { experts: [expert("llama-a", ["x"]), expert("llama-a", ["y"])] }],
      ["config-invalid-value", { more: { gate_mode: "hiden" } }],
      ["config-invalid-value", { more: { dtype: "float17" } }],
      ["config-invalid-value", { more: { experts_per_token: 0 } }],
      ["config-invalid-value", { more: { shared_experts: [TWO[0], TWO[1]] } }],
    ];
    for (const [code, settings] of cases) {
      const found = await rejectsWith(code, () => make(settings));
      assert.ok(found.range !== undefined && found.expected !== undefined, code);
    }
  });

  it("says why models fit no mixture", async () => {
    const shared = { shared_experts: [expert("llama-base")] };
    const named = await rejectsWith("moe-layout", () => make({ more: { architecture: "mistral" } }));
    assert.match(named.remedy ?? "", /Mixtral/);
    const mixed = await rejectsWith("moe-layout", () => make({ experts: [...TWO, expert("qwen2-a", ["z"])] }));
    assert.match(mixed.notes?.[0] ?? "", /different architectures: llama, qwen2/);
    const mixtral = await rejectsWith("moe-layout", () => make({ more: { ...shared, architecture: "mixtral" } }));
    assert.match(mixtral.notes?.[0] ?? "", /no shared expert/);
    const qwen = await rejectsWith("moe-layout", () => make({ more: { ...shared, architecture: "Qwen MoE" } }));
    assert.match(qwen.notes?.[0] ?? "", /positive_prompts/);
    assert.equal((await make({ more: shared })).layout, "DeepSeek MoE");
  });

  it("refuses experts of another size, and tensors that the mixture has no place for", async () => {
    const { config, tensors } = await copyOf("llama-a");
    const wide = writeModel(
      tensors.map((t) => (t.name.endsWith("0.mlp.up_proj.weight") ? floatTensor(t.name, [14, 12], new Float32Array(168)) : t)),
      { config },
    );
    const found = await rejectsWith("moe-expert-shape", () => make({ experts: [TWO[0] ?? {}, { source_model: wide, positive_prompts: ["q"] }] }));
    assert.equal(found.found, "[14, 12]");
    const biased = writeModel([...tensors, floatTensor("model.layers.0.self_attn.q_proj.bias", [12], new Float32Array(12))], { config });
    await rejectsWith("moe-tensor-without-place", () => make({ base: biased, gate_mode: "random" }));
    assert.equal((await make({ base: biased, gate_mode: "random", more: { architecture: "deepseek" } })).layout, "DeepSeek MoE");
  });

  it("warns of keys that mean nothing and of expert counts that llama.cpp cannot run", async () => {
    const { warnings } = await make({ experts: [...TWO, expert("llama-base", ["edit"])], more: { experts_per_tokens: 1 } });
    assert.deepEqual(
      warnings.map(({ code }) => code).filter((code) => code !== "moe-degenerate-gates"),
      ["config-unknown-key", "moe-expert-count"],
    );
  });

  it("warns of experts with more layers than the base", async () => {
    const { config, tensors } = await copyOf("llama-a");
    const third = tensors.filter(({ name }) => name.includes("layers.1.")).map((t) => ({ ...t, name: t.name.replace("layers.1.", "layers.2.") }));
    const deep = writeModel([...tensors, ...third], { config });
    const { warnings } = await make({ experts: [TWO[0] ?? {}, { source_model: deep, positive_prompts: ["one and two"] }] });
    const found = warnings.find(({ code }) => code === "moe-expert-layers");
    assert.deepEqual([found?.found, found?.expected], ["3 layers", "2"]);
  });

  it("warns of gates that are nearly the same", async () => {
    const near = await make({ experts: [expert("llama-a", ["the rain in the east is at it"]), expert("llama-b", ["the rain in the east is at its"])] });
    assert.ok(near.warnings.some(({ code }) => code === "moe-degenerate-gates"));
  });

  it("draws random gates from the seed alone, for each expert its own", async () => {
    const [one, again, other] = [
      await make({ gate_mode: "random" }),
      await make({ gate_mode: "random" }, { threads: 2 }),
      await make({ gate_mode: "random" }, { seed: 1 }),
    ];
    const hashes = [one, again, other].map(({ files }) => files[0]?.sha256);
    assert.equal(hashes[0], hashes[1]);
    assert.notEqual(hashes[0], hashes[2]);
    const more = await make({ gate_mode: "random", experts: [...TWO, expert("llama-base")] });
    const gate = async ({ out }: MergeResult) => [...valuesOf((await tensorsOf(out)).get("model.layers.1.block_sparse_moe.gate.weight"))];
    assert.deepEqual((await gate(more)).slice(0, 24), await gate(one), "a further expert leaves the others as they were");
  });

  it("takes the same model for all experts if it is told to", async () => {
    const same = [expert("llama-a", ["x"]), expert("llama-a", ["y"])];
    assert.equal((await make({ experts: same }, { allowSame: true })).layout, "Mixtral");
  });

  it("adds noise before it scales, and to experts only", async () => {
    const plain = await tensorsOf((await make({ gate_mode: "random" })).out);
    const noisy = await tensorsOf(
      (await make({ gate_mode: "random", experts: [expert("llama-a", [], { noise_scale: 0.5, residual_scale: 2 }), TWO[1] ?? {}] })).out,
    );
    const name = (e: number, w: number) => `model.layers.0.block_sparse_moe.experts.${e}.w${w}.weight`;
    const difference = (tensor: string, factor: number) => {
      const before = valuesOf(plain.get(tensor));
      return [...valuesOf(noisy.get(tensor))].map((x, i) => x / factor - (before[i] ?? 0));
    };
    const draws = [difference(name(0, 1), 1), difference(name(0, 3), 1), difference(name(0, 2), 2)].flat();
    const [mean, square] = [draws.reduce((a, b) => a + b, 0) / draws.length, draws.reduce((a, b) => a + b * b, 0) / draws.length];
    // 468 draws: four standard errors.
    assert.ok(Math.abs(mean) < 4 * (0.5 / Math.sqrt(draws.length)), `mean ${mean}`);
    assert.ok(Math.abs(Math.sqrt(square) - 0.5) < 4 * (0.5 / Math.sqrt(2 * draws.length)), `deviation ${Math.sqrt(square)}`);
    assert.ok(difference(name(1, 1), 1).every((x) => x === 0));
  });

  it("takes a shared expert that is no other model of the mixture", async () => {
    const { config, tensors } = await copyOf("llama-b");
    const shared = writeModel(tensors, { config });
    const { out } = await make({ gate_mode: "random", more: { shared_experts: [{ source_model: shared }] } });
    const written = (await tensorsOf(out)).get("model.layers.1.mlp.shared_experts.up_proj.weight");
    assert.deepEqual(valuesOf(written), valuesOf((await tensorsOf(model("llama-b"))).get("model.layers.1.mlp.up_proj.weight")));
  });

  it("stopped, goes on with the gates it has and gives the same bytes", async () => {
    const whole = await make({ gate_mode: "hidden" });
    const folder = temporaryFolder();
    const place = { out: join(folder, "out"), gates: join(folder, "gates") };
    const abort = new AbortController();
    await rejectsWith("cancelled", () => make({ gate_mode: "hidden" }, { ...place, signal: abort.signal, onProgress: () => abort.abort() }));
    assert.ok(existsSync(place.gates) && !existsSync(place.out));
    await make({ gate_mode: "hidden" }, { ...place, onGates: () => assert.fail("the gates were computed again") });
    assert.deepEqual(readdirSync(folder), ["out"]);
    assert.deepEqual(await folderHashes(place.out), await folderHashes(whole.out));
  });
});

async function copyOf(name: string): Promise<{ config: unknown; tensors: ReturnType<typeof floatTensor>[] }> {
  const tensors = [...(await tensorsOf(model(name)))].map(([tensor, { shape, data }]) => ({ name: tensor, dtype: "F32" as const, shape, data }));
  return { config: JSON.parse(readFileSync(join(model(name), "config.json"), "utf8")), tensors };
}
