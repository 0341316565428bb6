import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { formatDiagnostic } from "../../merge-core/diagnostics.ts";
import { formatPlan } from "../../merge-core/plan/format-plan.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import type { MergeJob, MergePlan } from "../../merge-core/plan/plan.ts";
import { type PlanOptions, type PlanResult, planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, type ModelOptions, type TensorData, writeModel } from "../helpers/models.ts";
import { tokenizerFiles } from "../helpers/tokenizers.ts";

interface Layout {
  readonly layers?: number;
  readonly rows?: number;
  readonly width?: number;
  readonly head?: boolean;
  readonly dtype?: "F32" | "BF16";
  readonly extra?: readonly TensorData[];
  readonly config?: Record<string, unknown> | null;
  readonly files?: ModelOptions["files"];
}

/** A folder of models, each with an embedding, some layers, a norm and perhaps a head. */
class Workshop {
  readonly folder = temporaryFolder();

  add(name: string, { layers = 2, rows = 4, width = 2, head = true, dtype = "F32", extra = [], config = {}, files }: Layout = {}): this {
    const matrix = (tensor: string, r: number) => floatTensor(tensor, [r, width], new Float32Array(r * width).fill(1), dtype);
    const tensors = [
      matrix("model.embed_tokens.weight", rows),
      ...Array.from({ length: layers }, (_, k) => [
        matrix(`model.layers.${k}.self_attn.q_proj.weight`, width),
        matrix(`model.layers.${k}.mlp.up_proj.weight`, 3),
      ]).flat(),
      floatTensor("model.norm.weight", [width], new Float32Array(width).fill(1), dtype),
      ...(head ? [matrix("lm_head.weight", rows)] : []),
      ...extra,
    ];
    const facts = { num_hidden_layers: layers, vocab_size: rows, torch_dtype: dtype === "F32" ? "float32" : "bfloat16", tie_word_embeddings: !head };
    writeModel(tensors, { folder: join(this.folder, name), ...(config !== null && { config: { ...facts, ...config } }), ...(files && { files }) });
    return this;
  }

  async plan(recipeText: string, options: PlanOptions = {}): Promise<PlanResult> {
    const file = join(this.folder, "recipe.yml");
    const { recipe, diagnostics } = parseRecipe(recipeText, file);
    assert.ok(recipe, diagnostics.map(formatDiagnostic).join("\n"));
    return planMerge(recipe, modelOpener(file), options);
  }

  async good(recipeText: string, options: PlanOptions = {}): Promise<MergePlan> {
    const { plan, diagnostics } = await this.plan(recipeText, options);
    assert.ok(plan, diagnostics.map(formatDiagnostic).join("\n"));
    return plan;
  }

  /** Codes and places, lines and columns as users count them. */
  async problems(recipeText: string): Promise<string[]> {
    const { plan, diagnostics } = await this.plan(recipeText);
    if (plan !== undefined) assert.equal(diagnostics.filter((d) => d.severity === "error").length, 0);
    return diagnostics.map(({ code, severity, range }) => `${severity} ${code} ${(range?.line ?? -1) + 1}:${(range?.column ?? -1) + 1}`);
  }
}

const TIES = `merge_method: ties
base_model: base
models:
  - model: a
    parameters: {weight: 0.6, density: 0.5}
  - model: b
    parameters: {weight: 0.4}
`;
const LINEAR = "merge_method: linear\nparameters: {weight: 1}\nmodels:\n  - model: a\n  - model: b\n";

const mergeJobs = (plan: MergePlan) => plan.jobs.filter((job): job is MergeJob => job.kind === "merge");
const jobOf = (plan: MergePlan, name: string) => mergeJobs(plan).find((job) => job.name === name);
const three = (layout: Layout = {}) => new Workshop().add("base", layout).add("a", layout).add("b", layout);

describe("a plan of whole models", () => {
  it("has one job per tensor, at the place where the bytes will lie", async () => {
    const plan = await three().good(TIES);
    assert.equal(plan.jobs.length, 7);
    const [shard] = plan.shards;
    assert.ok(shard);
    let end = shard.headerBytes;
    for (const job of plan.jobs) {
      assert.deepEqual([job.shard, job.offset, job.byteLength], [0, end, job.shape.reduce((a, b) => a * b, 4)]);
      end += job.byteLength;
    }
    assert.deepEqual([end, plan.bytesToWrite, shard.file], [shard.sizeBytes, shard.sizeBytes, "model.safetensors"]);
  });

  it("reads each input from where its header says", async () => {
    const workshop = three();
    const plan = await workshop.good(TIES);
    const job = jobOf(plan, "model.layers.1.mlp.up_proj.weight");
    const entry = (await openCheckpoint(join(workshop.folder, "b"))).tensors.get("model.layers.1.mlp.up_proj.weight");
    assert.deepEqual(
      job?.inputs.map(({ model, modelIndex, isBase, parameters }) => ({ model, modelIndex, isBase, parameters })),
      [
        { model: "a", modelIndex: 0, isBase: false, parameters: { weight: 0.6, density: 0.5 } },
        { model: "b", modelIndex: 1, isBase: false, parameters: { weight: 0.4, density: 1 } },
        { model: "base", modelIndex: 2, isBase: true, parameters: { density: 1 } },
      ],
    );
    assert.deepEqual([job?.inputs[1]?.file, job?.inputs[1]?.offset, job?.inputs[1]?.byteLength], [entry?.file, entry?.offset, entry?.byteLength]);
    assert.deepEqual(job?.parameters, { lambda: 1, normalize: 1, rescale: 0, int8_mask: 0, whole_vector: 0, count_election: 0 });
  });

  it("finds models beside the recipe, and lists each once", async () => {
    const workshop = three();
    const plan = await workshop.good(TIES);
    assert.deepEqual(
      plan.models.map(({ reference, folder }) => [reference, folder]),
      ["base", "a", "b"].map((name) => [name, join(workshop.folder, name)]),
    );
  });

  it("takes config and side files from the base", async () => {
    const files = { "tokenizer.json": "{}", "generation_config.json": "{}", "training_args.bin": "x", "README.md": "x", "modeling_x.py": "x" };
    const plan = await new Workshop().add("base", { files }).add("a").add("b").good(TIES);
    assert.deepEqual(plan.donor.files, ["generation_config.json", "modeling_x.py", "tokenizer.json"]);
    assert.deepEqual([plan.donor.reference, plan.donor.hasConfig, plan.config], ["base", true, []]);
  });

  it("resolves gradients by layer and conditions by name, the head and norm at the first value", async () => {
    const plan = await three({ layers: 3 }).good(
      "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\nparameters:\n  t: [{filter: mlp, value: [1, 0]}, {value: 0.25}]\n",
    );
    const t = (name: string) => jobOf(plan, name)?.parameters.t;
    assert.deepEqual(
      [0, 1, 2].map((k) => t(`model.layers.${k}.mlp.up_proj.weight`)),
      [1, 0.5, 0],
    );
    assert.deepEqual(["model.layers.1.self_attn.q_proj.weight", "lm_head.weight"].map(t), [0.25, 0.25]);
    const gradient = await three({ layers: 3 }).good("merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\nparameters: {t: [0, 1]}\n");
    assert.deepEqual(
      ["lm_head.weight", "model.norm.weight"].map((name) => jobOf(gradient, name)?.parameters.t),
      [0, 0],
    );
  });

  it("keeps a model listed twice as two inputs", async () => {
    const plan = await three().good(LINEAR.replace("model: b", "model: a"));
    assert.deepEqual(
      mergeJobs(plan)[0]?.inputs.map(({ model, modelIndex }) => [model, modelIndex]),
      [
        ["a", 0],
        ["a", 1],
      ],
    );
    assert.equal(plan.models.length, 1);
  });

  it("leaves an unlisted base out of an average, and takes its config", async () => {
    const plan = await three().good(`${LINEAR}base_model: base\n`);
    assert.deepEqual([mergeJobs(plan)[0]?.inputs.length, plan.donor.reference], [2, "base"]);
  });
});

describe("dtypes", () => {
  it("stay those of the base where the recipe sets none", async () => {
    const workshop = new Workshop().add("base", { dtype: "BF16" }).add("a").add("b");
    const plan = await workshop.good(TIES);
    assert.deepEqual([...new Set(plan.jobs.map(({ dtype }) => dtype))], ["BF16"]);
    assert.deepEqual(
      plan.findings.map(({ code, severity }) => [code, severity]),
      [["dtypes-differ", "info"]],
    );
    assert.deepEqual(plan.config, []);
  });

  it("are dtype, or out_dtype before it, and the config says so", async () => {
    for (const [line, dtype, name] of [
      ["dtype: bfloat16", "BF16", "bfloat16"],
      ["dtype: torch.bfloat16", "BF16", "bfloat16"],
      ["dtype: float32\nout_dtype: float16", "F16", "float16"],
    ] as const) {
      const plan = await three().good(`${TIES}${line}\n`);
      assert.deepEqual([...new Set(plan.jobs.map((job) => job.dtype))], [dtype]);
      assert.deepEqual(plan.config, [{ path: ["torch_dtype"], value: name }]);
    }
  });

  it("leave integers alone, and wider elements come first so that all are aligned", async () => {
    const extra = [
      { name: "model.flags", dtype: "BOOL" as const, shape: [3], data: new Uint8Array(3) },
      { name: "model.ids", dtype: "I64" as const, shape: [1], data: new Uint8Array(8) },
    ];
    const plan = await three({ extra }).good(`${TIES}dtype: bfloat16\n`);
    assert.deepEqual(
      plan.jobs.filter((job) => job.kind === "copy").map(({ name, dtype }) => [name, dtype]),
      [
        ["model.ids", "I64"],
        ["model.flags", "BOOL"],
      ],
    );
    for (const { offset, dtype } of plan.jobs) assert.equal(offset % (dtype === "I64" ? 8 : dtype === "BF16" ? 2 : 1), 0);
    assert.equal(plan.jobs[0]?.name, "model.ids");
  });
});

describe("slices", () => {
  const STACK = `merge_method: passthrough
slices:
  - sources: [{model: a, layer_range: [0, 2]}]
  - sources: [{model: b, layer_range: [1, 3]}]
`;

  it("stack layers under new numbers; the embedding is the first slice's, norm and head the last's", async () => {
    const plan = await three({ layers: 3 }).good(STACK);
    const from = (name: string) => {
      const job = plan.jobs.find((j) => j.name === name);
      return job?.kind === "copy" ? [basename(join(job.source.file, "..")), job.source.name] : undefined;
    };
    assert.equal(plan.jobs.length, 4 * 2 + 3);
    assert.deepEqual(from("model.embed_tokens.weight"), ["a", "model.embed_tokens.weight"]);
    assert.deepEqual(from("model.layers.1.mlp.up_proj.weight"), ["a", "model.layers.1.mlp.up_proj.weight"]);
    assert.deepEqual(from("model.layers.3.mlp.up_proj.weight"), ["b", "model.layers.2.mlp.up_proj.weight"]);
    assert.deepEqual(
      [from("lm_head.weight"), from("model.norm.weight")],
      [
        ["b", "lm_head.weight"],
        ["b", "model.norm.weight"],
      ],
    );
    assert.deepEqual(plan.config, [{ path: ["num_hidden_layers"], value: 4 }]);
  });

  it("keep the kinds of layers in the config in step", async () => {
    const config = { layer_types: ["full", "sliding", "full"] };
    const plan = await three({ layers: 3, config }).good(STACK);
    assert.deepEqual(plan.config.at(-1), { path: ["layer_types"], value: ["full", "sliding", "sliding", "full"] });
  });

  it("restart gradients, match method-wide conditions with output names and a model's own with its names", async () => {
    const text = `merge_method: slerp
base_model: a
parameters: {t: [0, 1]}
slices:
  - sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 2]}]
  - sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [1, 3]}]
    parameters: {t: [{filter: layers.3, value: 0.75}, {value: 0.5}]}
`;
    const plan = await three({ layers: 3 }).good(text);
    const jobs = [0, 1, 2, 3].map((k) => jobOf(plan, `model.layers.${k}.mlp.up_proj.weight`));
    assert.deepEqual(
      jobs.map((job) => job?.parameters.t),
      [0, 1, 0.5, 0.75],
    );
    assert.deepEqual(
      jobs[3]?.inputs.map(({ name }) => name),
      ["model.layers.1.mlp.up_proj.weight", "model.layers.2.mlp.up_proj.weight"],
    );
  });

  it("scale what a condition names, and copy the rest", async () => {
    const plan = await three().good("merge_method: passthrough\nmodels:\n  - model: a\n    parameters: {scale: [{filter: q_proj, value: 0}]}\n");
    assert.deepEqual(
      mergeJobs(plan).map(({ name, inputs }) => [name, inputs[0]?.parameters.scale]),
      [0, 1].map((k) => [`model.layers.${k}.self_attn.q_proj.weight`, 0]),
    );
  });

  it("may not reach beyond the last layer", async () => {
    assert.deepEqual(await three().problems(STACK), ["error layer-range 4:23"]);
  });
});

describe("heads and embeddings", () => {
  it("a head that a model lacks is its embedding, and the output's head is its own", async () => {
    const plan = await new Workshop().add("base", { head: false }).add("a").add("b", { head: false }).good(TIES);
    assert.deepEqual(
      jobOf(plan, "lm_head.weight")?.inputs.map(({ name }) => name),
      ["lm_head.weight", "model.embed_tokens.weight", "model.embed_tokens.weight"],
    );
    assert.deepEqual(plan.config, [{ path: ["tie_word_embeddings"], value: false }]);
    assert.deepEqual(
      plan.findings.map(({ code, severity, found }) => [code, severity, found]),
      [["heads-tied", "warning", "lm_head.weight in a, the embedding in b, base"]],
    );
  });

  it("a head that all models tie is left out, though some store it", async () => {
    const workshop = new Workshop()
      .add("base", { head: false })
      .add("a", { config: { tie_word_embeddings: true } })
      .add("b", { head: false });
    const plan = await workshop.good(TIES);
    assert.equal(jobOf(plan, "lm_head.weight"), undefined);
    assert.deepEqual(plan.config, []);
  });

  it("embeddings of different vocabularies are cropped to common rows, and the config with them", async () => {
    const plan = await new Workshop().add("base", { rows: 6 }).add("a", { rows: 4 }).add("b", { rows: 5 }).good(TIES);
    const job = jobOf(plan, "model.embed_tokens.weight");
    assert.deepEqual([job?.shape, job?.inputs.map(({ shape, byteLength }) => [shape, byteLength])], [[4, 2], [0, 1, 2].map(() => [[4, 2], 32])]);
    assert.deepEqual(plan.config, [{ path: ["vocab_size"], value: 4 }]);
    assert.deepEqual(
      plan.findings.map(({ code, severity }) => [code, severity]),
      [
        ["embedding-cropped", "warning"],
        ["embedding-cropped", "warning"],
      ],
    );
  });

  it("buffers that only some models store are copied", async () => {
    const buffer = floatTensor("model.layers.0.self_attn.rotary_emb.inv_freq", [2], [1, 2]);
    const plan = await new Workshop()
      .add("base")
      .add("a", { extra: [buffer] })
      .add("b")
      .good(TIES);
    assert.deepEqual(
      plan.jobs.filter((job) => job.kind === "copy").map(({ name }) => name),
      [buffer.name],
    );
  });
});

describe("shards", () => {
  it("hold at most the bytes given, and every tensor once", async () => {
    const plan = await three({ layers: 4 }).good(TIES, { shardBytes: 70 });
    assert.ok(plan.shards.length > 2);
    assert.equal(plan.shards[1]?.file, `model-00002-of-${String(plan.shards.length).padStart(5, "0")}.safetensors`);
    for (const { sizeBytes, headerBytes, tensors } of plan.shards) assert.ok(sizeBytes - headerBytes <= 70 || tensors.length === 1);
    assert.equal(new Set(plan.shards.flatMap(({ tensors }) => tensors.map(({ name }) => name))).size, plan.jobs.length);
    for (const job of plan.jobs) assert.deepEqual(plan.shards[job.shard]?.tensors.find(({ name }) => name === job.name)?.offset, job.offset);
  });
});

describe("the plan's hash", () => {
  it("depends on what decides the output, not on memory", async () => {
    const workshop = three();
    const hash = async (text: string, options: PlanOptions = {}) => (await workshop.good(text, options)).planHash;
    const first = await hash(TIES);
    assert.match(first, /^[0-9a-f]{64}$/);
    assert.equal(await hash(TIES, { memoryBytes: 1e8 }), first);
    for (const other of [hash(TIES, { seed: 1 }), hash(TIES.replace("0.4", "0.5")), hash(TIES, { shardBytes: 50 }), hash(`${TIES}dtype: bfloat16\n`)])
      assert.notEqual(await other, first);
  });
});

describe("bad input", () => {
  it("a missing model: what was looked for, and the near miss", async () => {
    const workshop = new Workshop().add("base").add("expert-math").add("b");
    const text = TIES.replace("model: a", "model: expert-maht");
    assert.deepEqual(await workshop.problems(text), ["error model-missing 4:12"]);
    const [diagnostic] = (await workshop.plan(text)).diagnostics;
    assert.equal(diagnostic?.found, "expert-maht");
    assert.equal(diagnostic?.remedy, `did you mean ${join(workshop.folder, "expert-math")}?`);
    assert.ok(diagnostic?.notes?.includes(`looked for ${join(workshop.folder, "expert-maht")}`));
  });

  it("a missing base", async () => {
    assert.deepEqual(await new Workshop().add("a").add("b").problems(TIES), ["error model-missing 2:13"]);
  });

  it("a folder without a model", async () => {
    const workshop = new Workshop().add("base").add("b");
    writeModel([], { folder: join(workshop.folder, "a") });
    assert.deepEqual(await workshop.problems(TIES), ["error model-empty 4:12"]);
  });

  it("shapes that differ: tensor, model and both shapes, once per model", async () => {
    const { diagnostics } = await new Workshop().add("base").add("a", { width: 3 }).add("b").plan(TIES);
    assert.deepEqual(
      diagnostics.map(({ code, found, expected }) => [code, found, expected]),
      [["shapes-differ", "[4, 3] in a", "[4, 2] in base"]],
    );
    assert.match(diagnostics[0]?.notes?.[0] ?? "", /^7 tensors in all: model.embed_tokens.weight, /);
  });

  it("layer counts that differ", async () => {
    const { diagnostics } = await new Workshop().add("base").add("a", { layers: 4 }).add("b").plan(TIES);
    assert.deepEqual(
      diagnostics.map(({ code, found, expected }) => [code, found, expected]),
      [["layer-count-differs", "4 in a", "2, as in base"]],
    );
  });

  it("a tensor that only some models have", async () => {
    const extra = [floatTensor("model.extra.weight", [2], [1, 2])];
    const { diagnostics } = await new Workshop().add("base", { extra }).add("a", { extra }).add("b").plan(TIES);
    assert.deepEqual(
      diagnostics.map(({ code, found }) => [code, found]),
      [["tensor-missing", "no model.extra.weight"]],
    );
  });

  it("a tensor that the base lacks", async () => {
    const extra = [floatTensor("model.extra.weight", [2], [1, 2])];
    const { diagnostics } = await new Workshop().add("base").add("a", { extra }).add("b").plan(TIES);
    assert.deepEqual(
      diagnostics.map(({ code, message, range }) => [code, message, (range?.line ?? 0) + 1]),
      [["tensor-missing", "a has a tensor that base lacks", 4]],
    );
  });

  it("another architecture, once and not tensor by tensor", async () => {
    const workshop = new Workshop().add("base").add("b");
    writeModel([floatTensor("transformer.h.0.attn.c_attn.weight", [2], [1, 2])], { folder: join(workshop.folder, "a") });
    const { diagnostics } = await workshop.plan(TIES);
    assert.deepEqual(
      diagnostics.map(({ code, found }) => [code, found]),
      [["architecture-differs", "tensors named like transformer.h.0.attn.c_attn.weight"]],
    );
  });

  it("quantised weights, but for passing them through", async () => {
    const extra = [{ name: "model.layers.0.mlp.up_proj.qweight", dtype: "I32" as const, shape: [1], data: new Uint8Array(4) }];
    assert.deepEqual(await new Workshop().add("base").add("a", { extra }).add("b").problems(TIES), ["error packed-tensors 4:12"]);
    assert.equal((await new Workshop().add("a", { extra }).good("merge_method: passthrough\nmodels: [{model: a}]\n")).jobs.length, 8);
  });

  it("integers where other models have floats", async () => {
    const extra = (dtype: "I32" | "F32") => [{ name: "model.x", dtype, shape: [1], data: new Uint8Array(4) }];
    assert.deepEqual(
      await new Workshop()
        .add("base", { extra: extra("F32") })
        .add("a", { extra: extra("I32") })
        .add("b", { extra: extra("F32") })
        .problems(TIES),
      ["error dtype-differs 4:12"],
    );
  });

  it("a value that no condition gives, and one that leaves its range between layers", async () => {
    assert.deepEqual(await three().problems(TIES.replace("weight: 0.4", "weight: [{filter: mlp, value: 1}]")), ["error missing-parameter 6:12"]);
    const steps = "merge_method: karcher\nmodels: [{model: a}, {model: b}]\nparameters: {max_iter: [1, 2]}\n";
    assert.deepEqual(await three({ layers: 3 }).problems(steps), ["error parameter-range 1:15"]);
  });

  it("weights that sum to zero only in layers where they are normalised", async () => {
    const flags = (values: string) => LINEAR.replace("weight: 1}", `weight: [0, 1], normalize: ${values}}`);
    assert.deepEqual(await three({ layers: 3 }).problems(flags("[1, 1]")), ["error weights-sum-to-zero 1:15"]);
    assert.ok((await three({ layers: 3 }).plan(flags("[0, 1]"))).plan);
  });

  it("weights that sum to zero for some tensors", async () => {
    const text = LINEAR.replace("parameters: {weight: 1}\n", "")
      .replace("model: a", "model: a\n    parameters: {weight: 1}")
      .replace("model: b", "model: b\n    parameters: {weight: [{filter: mlp, value: -1}, {value: 1}]}");
    assert.deepEqual(await three().problems(text), ["error weights-sum-to-zero 1:15"]);
  });

  it("revisions of paths, modules, tokenizers that are not there and templates that are none", async () => {
    assert.deepEqual(await three().problems(TIES.replace("model: a", "model: a@main")), ["error revision-of-path 4:12"]);
    assert.deepEqual(await three().problems("merge_method: linear\nparameters: {weight: 1}\nmodules: {text: {models: [{model: a}]}}\n"), [
      "error module-unknown 3:11",
      "warning module-left-out 3:11",
    ]);
    assert.deepEqual(await three().problems(`${TIES}tokenizer_source: union\n`), ["error tokenizer-missing 8:1"]);
    assert.deepEqual(await three().problems(`${TIES}chat_template: chatlm\n`), ["error chat-template 8:16"]);
  });

  it("a model without config is only a warning", async () => {
    assert.deepEqual(await new Workshop().add("base", { config: null }).add("a").add("b").problems(TIES), ["warning config-missing 2:13"]);
  });
});

describe("a tokenizer that all models share", () => {
  it("is what tokenizer_source asks for, whatever its name", async () => {
    const files = tokenizerFiles({ tokens: ["a", "b", "c", "d"] });
    const plan = await three({ files }).good(`${TIES}tokenizer_source: union\n`);
    assert.deepEqual([plan.tokenizer?.reference, plan.tokenizer?.added], ["base", []]);
    assert.ok(mergeJobs(plan).every(({ inputs }) => inputs.every(({ rows }) => rows === undefined)));
    assert.match(formatPlan(plan), /tokenizer\.json, tokenizer_config\.json of base, 0 tokens added/);
  });
});

describe("formatPlan", () => {
  it("tells parameters by group, files and cost", async () => {
    const workshop = three();
    const text = formatPlan(await workshop.good(`${TIES}dtype: bfloat16\n`));
    assert.match(text, /^ties of 3 models, seed 0, plan [0-9a-f]{12}\n/);
    assert.match(text, /\n {2}model\.embed_tokens\.weight, model\.layers\.0-1\.self_attn\.q_proj\.weight, \.\.\. \(7, 76 B\): ties to BF16, lambda 1 /);
    assert.match(text, /; a weight 0\.6 density 0\.5; b weight 0\.4 density 1; base base density 1\n/);
    assert.match(text, /\n {2}changed in config\.json: torch_dtype = "bfloat16"\n/);
    assert.match(text, /\n {2}reads 456 B, writes /);
    assert.equal((await workshop.good(TIES, { memoryBytes: 100 })).bytesToRead, (8 + 6 + 6 + 8) * 12 * 3 + (4 + 4 + 2) * 12);
  });
});

describe("a plan", () => {
  it("is plain data", async () => {
    const plan = await three().good(TIES);
    assert.deepEqual(JSON.parse(JSON.stringify(plan)), plan);
    assert.equal(plan.recipe.text, TIES);
    assert.ok(readFileSync(plan.models[0]?.files[0]?.file ?? "").byteLength === plan.models[0]?.files[0]?.sizeBytes);
  });
});
