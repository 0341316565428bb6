// Adapters trained in slices, and what is left of them when slices go.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readAdapter } from "../../merge-core/adapters/read-adapter.ts";
import { attachAdapter } from "../../merge-core/evaluate/attach-adapter.ts";
import { meanLoss } from "../../merge-core/evaluate/loss.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { readExamples, tokenize } from "../../merge-core/nn/data.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel } from "../../merge-core/nn/model.ts";
import { describeSlices } from "../../merge-core/slices/describe-slices.ts";
import { longestChain } from "../../merge-core/slices/provenance.ts";
import { removeSlices } from "../../merge-core/slices/remove-slices.ts";
import { trainSlices } from "../../merge-core/slices/train-slices.ts";
import { parseTrainConfig, TRAIN_DEFAULTS, type TrainConfig } from "../../merge-core/train/config.ts";
import { train } from "../../merge-core/train/train.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { writeTinyModel } from "../helpers/tiny-decoder.ts";
import { readTensors } from "../oracles/read-tensors.ts";

const PROGRAM = fileURLToPath(new URL("./weightsmith.js", import.meta.url));
const FILES = ["adapter_model.safetensors", "adapter_config.json"];

describe("Training in slices", () => {
  let folder: string;
  let config: TrainConfig;
  const place = (name: string) => join(folder, name);
  const bytes = (out: string) => FILES.map((name) => readFileSync(join(place(out), name)));
  const sameBytes = (a: string, b: string) => bytes(a).forEach((content, i) => void assert.ok(content.equals(bytes(b)[i] as Buffer), `${FILES[i]} of ${a}`));
  const filesOf = (...names: string[]) => ({ train: names.map((name) => place(`${name}.jsonl`)), validation: [place("v.jsonl")] });

  before(async () => {
    await initBackend({ threads: 1 });
    folder = temporaryFolder();
    writeTinyModel(place("model"), { num_hidden_layers: 4 });
    const letters = [..."abcdefgh"];
    const pairs = letters.flatMap((a) => letters.map((b) => ({ prompt: `${a}${b}`, completion: b })));
    const lines = (rest: number) => pairs.filter((_, i) => i % 4 === rest).map((pair) => JSON.stringify(pair));
    for (const [i, name] of ["a", "b", "c", "v"].entries()) writeFileSync(place(`${name}.jsonl`), lines(i).join("\n"));
    config = {
      ...TRAIN_DEFAULTS,
      model: place("model"),
      data: filesOf("a", "b", "c"),
      method: { kind: "lora", r: 2, alpha: 4, dropout: 0.1, targetModules: ["q_proj", "o_proj", "up_proj"] },
      slices: { layers: 1, orders: 3 },
      length: { steps: 12 },
      batchSize: 8,
      optimizer: { ...TRAIN_DEFAULTS.optimizer, lr: 0.02 },
    };
    await trainSlices(config, place("all"));
  });

  const methodOf = (family: string, targets = "q_proj, o_proj, up_proj") =>
    parseTrainConfig(`model: m\ndata: { train: a }\nmethod: adapter\nadapter: { family: ${family}, target_modules: [${targets}] }`, "t").method;

  /** On the validation data, of the adapter as it is stored. */
  async function lossOf(out: string): Promise<number> {
    const model = await loadModel(config.model);
    const attached = await attachAdapter(model.decoder, place(out));
    const rows = (await readExamples(place("v.jsonl"))).flatMap((example) => tokenize(example, model.codec, 2, 64));
    const loss = await meanLoss(attached.decoderOf(rows), rows, { batchSize: 8 });
    attached.dispose();
    disposeDecoder(model.decoder);
    return loss;
  }

  it("gives each slice layers of its own, and the loss of what is written", async () => {
    const result = await trainSlices({ ...config, slices: { layers: 1, orders: 1 } }, place("single"));
    assert.deepEqual(result.active, [1, 2, 3]);
    assert.deepEqual(
      result.parts.map(({ slices, layers }) => [slices.join(), layers.join()]),
      [
        ["1", "3"],
        ["1,2", "2"],
        ["1,2,3", "1"],
      ],
    );
    sameBytes("single", "all");
    const names = [...(await readTensors(join(place("all"), FILES[0] as string))).keys()];
    assert.equal(names.length, 3 * 3 * 2);
    assert.deepEqual([...new Set(names.map((name) => /layers\.(\d)/.exec(name)?.[1]))].sort(), ["1", "2", "3"]);
    // q [16, 8], o [8, 16], up [12, 8] at rank 2.
    assert.equal(result.parameters, 3 * 2 * (24 + 24 + 20));
    const loss = await lossOf("all");
    // Factors are stored in bf16.
    assert.ok(Math.abs(loss - (result.validationLoss ?? 0)) < 0.01, `${loss} and ${result.validationLoss}`);
    assert.equal(
      readFileSync(join(place("all"), "training-log.jsonl"), "utf8")
        .trim()
        .split("\n").length,
      36,
    );
  });

  for (const [removed, left] of [
    [["2"], ["c", "a"]],
    [["b.jsonl"], ["c", "a"]],
    [["1"], ["b", "c"]],
    [["3"], ["a", "b"]],
    [["3", "1"], ["b"]],
  ] as const) {
    it(`without ${removed.join(" and ")} is byte for byte the adapter of ${left.join(", ")} alone`, async () => {
      const [out, fresh] = [`without-${removed.join("-")}`, `fresh-${removed.join("-")}`];
      const result = await removeSlices({ adapter: place("all"), slices: removed, out: place(out) });
      assert.deepEqual(
        result.active.map(({ name }) => name),
        left.map((name) => `${name}.jsonl`),
      );
      await trainSlices({ ...config, data: filesOf(...left), slices: { layers: 1, orders: 1 } }, place(fresh));
      sameBytes(out, fresh);
      assert.notDeepEqual(bytes(out), bytes("all"));
      // Nothing of the removed data stays: no part that has seen it, no digest of it.
      const kept = readdirSync(join(place(out), "slices"));
      const numbers = result.removed.map(({ number }) => number);
      assert.ok(kept.length > 0 && kept.every((part) => !part.split("-").some((number) => numbers.includes(Number(number)))), kept.join());
      const record = readFileSync(join(place(out), "slices.json"), "utf8");
      for (const number of numbers) {
        const digest = createHash("sha256")
          .update(readFileSync(place(`${"abc"[number - 1]}.jsonl`)))
          .digest("hex");
        assert.ok(readFileSync(join(place("all"), "slices.json"), "utf8").includes(digest));
        assert.ok(!record.includes(digest));
      }
    });
  }

  it("is what training part by part, the parts before frozen, gives", async () => {
    const settings = {
      r: 2,
      lora_alpha: 4,
      use_rslora: false,
      use_dora: false,
      init_lora_weights: "default",
      lora_plus_ratio: 1,
      search_evaluations: 0,
      elastic_ranks: "",
    };
    const own = { kind: "adapter", family: "LORA", targetModules: ["q_proj", "o_proj", "up_proj"], dropout: 0.1, settings } as const;
    const { slices: _, ...plain } = config;
    await train({ ...plain, data: filesOf("c"), method: { ...own, layers: [3] } }, place("first"));
    await train({ ...plain, data: filesOf("c", "a"), method: { ...own, layers: [2], beside: place("first") } }, place("second"));
    await removeSlices({ adapter: place("all"), slices: ["2"], out: place("two") });
    const [first, second, both] = await Promise.all(["first", "second", "two"].map((name) => readTensors(join(place(name), FILES[0] as string))));
    const expected = new Map([...(first ?? []), ...(second ?? [])]);
    assert.equal(expected.size, 12);
    assert.deepEqual(new Map([...(both ?? [])].sort()), new Map([...expected].sort()));
  });

  it("tells which slice trained which layers, and what would be left without it", async () => {
    await removeSlices({ adapter: place("all"), slices: ["2"], out: place("told") });
    const tell = async (name: string) => describeSlices(place(name), [...(await readAdapter(place(name))).modules.keys()]);
    const rows = (found: Awaited<ReturnType<typeof tell>>) =>
      found?.slices.map(({ number, active, layers, removed, without }) => [number, active, layers?.join(), removed, without.join()]);
    const all = await tell("all");
    assert.deepEqual(rows(all), [
      [1, true, "3", undefined, "2,3"],
      [2, true, "2", undefined, "3,1"],
      [3, true, "1", undefined, "1,2"],
    ]);
    assert.deepEqual([all?.parts, all?.active, all?.findings], [9, [1, 2, 3], []]);
    const trained = JSON.parse(readFileSync(join(place("all"), "slices", "1-2", "training.json"), "utf8")) as { trainLoss: number; validationLoss: number };
    assert.deepEqual([all?.slices[1]?.trainLoss, all?.slices[1]?.validationLoss], [trained.trainLoss, trained.validationLoss]);
    assert.deepEqual(rows(await tell("told")), [
      [1, true, "2", undefined, "3"],
      [2, false, undefined, true, "3,1"],
      [3, true, "3", undefined, "1"],
    ]);
    const inspect = (...options: string[]) => spawnSync(process.execPath, [PROGRAM, "adapter", "inspect", place("all"), ...options], { encoding: "utf8" });
    assert.deepEqual(JSON.parse(inspect("--json").stdout).slices.slices[1], JSON.parse(JSON.stringify(all?.slices[1])));
    assert.match(inspect().stdout, /^1 a\.jsonl +3 +\d\.\d{4} +\d\.\d{4} +2, 3$/m);
    rmSync(join(place("told"), "slices", "3-1"), { recursive: true });
    assert.deepEqual(
      (await tell("told"))?.findings.map(({ code, found }) => [code, found]),
      [["slices-part-missing", "3-1"]],
    );
    const other = await describeSlices(place("told"), ["model.layers.0.self_attn.q_proj"]);
    assert.match(other?.findings.at(-1)?.message ?? "", /not those of its record/);
    assert.equal(await describeSlices(place("told/slices/3"), []), undefined);
  });

  it("loses further slices until nothing is left", async () => {
    await removeSlices({ adapter: place("all"), slices: ["2"], out: place("less") });
    await removeSlices({ adapter: place("less"), slices: ["1"], out: place("least") });
    await trainSlices({ ...config, data: filesOf("c"), slices: { layers: 1, orders: 1 } }, place("c-alone"));
    sameBytes("least", "c-alone");
    await rejectsWith("slices-none-left", () => removeSlices({ adapter: place("least"), slices: ["3"], out: place("no") }));
    await rejectsWith("slice-removed", () => removeSlices({ adapter: place("least"), slices: ["2"], out: place("no") }));
    const { remedy } = await rejectsWith("slice-unknown", () => removeSlices({ adapter: place("all"), slices: ["bb.jsonl"], out: place("no") }));
    assert.match(remedy ?? "", /b\.jsonl/);
    await rejectsWith("adapter-not-sliced", () => removeSlices({ adapter: place("first"), slices: ["1"], out: place("no") }));
    assert.ok(!existsSync(place("no")) && !existsSync(place("no.partial")));
  });

  it("stopped and started again gives the same bytes", async () => {
    const abort = new AbortController();
    const stop = ({ step }: { step: number }) => step === 30 && abort.abort();
    await rejectsWith("cancelled", () => trainSlices(config, place("stopped"), { signal: abort.signal, onProgress: stop }));
    assert.deepEqual(readdirSync(join(place("stopped.partial"), "slices")).sort(), ["1", "1-2"]);
    await trainSlices(config, place("stopped"));
    sameBytes("stopped", "all");
    assert.deepEqual(readdirSync(place("stopped")).sort(), readdirSync(place("all")).sort());
  });

  it("refuses more slices than layers, families whose layers have nothing of their own, and layers that there are not", async () => {
    const fail = (changes: Partial<TrainConfig>, code: string) => rejectsWith(code, () => trainSlices({ ...config, ...changes }, place("no")));
    await fail({ slices: { layers: 2, orders: 1 } }, "slices-need-layers");
    const { found } = await fail({ method: methodOf("sharelora, r: 2, share: ab") }, "slices-need-own-tensors");
    assert.match(found ?? "", /nothing but tensors that all layers share/);
    assert.match((await fail({ method: methodOf("hyperformer") }, "slices-need-own-tensors")).found ?? "", /each file as a task/);
    const lora = parseTrainConfig(
      "model: m\ndata: { train: a }\nmethod: adapter\nadapter: { family: lora, target_modules: [q_proj], r: 2, layers: [9, 1] }",
      "t",
    );
    assert.deepEqual(lora.method.kind === "adapter" && lora.method.layers, [1, 9]);
    await fail({ method: lora.method }, "slices-choose-layers");
    const { slices: _, ...plain } = config;
    await rejectsWith("adapter-layer-missing", () => train({ ...plain, method: lora.method }, place("no")));
    await rejectsWith("config-invalid-value", () => parseTrainConfig("model: m\ndata: { train: a }\nslices: { layers: 1 }", "t"));
  });

  // Three slices in two orders; the tensors of the file that are there once, and how many rows pools have by then.
  for (const [family, shared, pool] of [
    ["vera, r: 4", 2],
    ["vblora, r: 2, vector_length: 4, num_vectors: 6", 1],
    ["vblora, r: 2, vector_length: 4, num_vectors: 6, save_only_topk_weights: true", 1],
    ["sharelora, r: 2, share: a", 3],
    ["sharelora, r: 2, share: b", 3],
    ["aslora, r: 2", 6, ["aslora_B.q_proj", 3]],
    ["mos, r: 2, equivalent_rank: 2, chunks: 2, private_rank: 1", 6, ["mos_A.up_proj", 12]],
  ] as const) {
    it(`takes a slice out of layers that share tensors: ${family}`, async () => {
      const own: TrainConfig = { ...config, method: methodOf(family), slices: { layers: 1, orders: 2 }, dtype: "F32" };
      const [all, out, fresh] = ["all", "less", "fresh"].map((name) => `${family.replace(/\W+/g, "-")}-${name}`) as [string, string, string];
      const { active, validationLoss, parameters } = await trainSlices(own, place(all));
      assert.deepEqual(active, [1, 2, 3]);
      const tensors = await readTensors(join(place(all), FILES[0] as string));
      const names = [...tensors.keys()];
      assert.equal(names.filter((name) => !/layers\.\d/.test(name)).length, shared);
      assert.deepEqual([...new Set(names.flatMap((name) => /layers\.(\d)/.exec(name)?.[1] ?? []))].sort(), ["1", "2", "3"]);
      if (pool !== undefined) assert.equal(tensors.get(`base_model.${pool[0]}`)?.shape[0], pool[1]);
      // The file gives what training measured.
      assert.ok(Math.abs((await lossOf(all)) - (validationLoss ?? 9)) < 1e-5, `${await lossOf(all)} and ${validationLoss}`);
      const first = await readTensors(join(place(all), "slices", "1", FILES[0] as string));
      if (pool === undefined) for (const name of names.filter((one) => !/layers\.\d/.test(one))) assert.deepEqual(tensors.get(name), first.get(name), name);
      assert.ok(parameters > 0 && parameters <= names.reduce((sum, name) => sum + (tensors.get(name)?.shape.reduce((x, y) => x * y, 1) ?? 0), 0));
      await removeSlices({ adapter: place(all), slices: ["1"], out: place(out) });
      await trainSlices({ ...own, data: filesOf("b", "c"), slices: { layers: 1, orders: 1 } }, place(fresh));
      sameBytes(out, fresh);
      assert.notDeepEqual(bytes(out), bytes(all));
    });
  }

  it("keeps norms of earlier parts in place while later ones are trained", async () => {
    const method = methodOf("ln_tuning", "input_layernorm");
    const { validationLoss, parameters } = await trainSlices({ ...config, method, slices: { layers: 1, orders: 1 }, dtype: "F32" }, place("norms"));
    assert.ok(Math.abs((await lossOf("norms")) - (validationLoss ?? 9)) < 1e-5, `${await lossOf("norms")} and ${validationLoss}`);
    assert.equal(parameters, 3 * 8);
  });

  it("takes the longest chain that is whole, the first of several", () => {
    const chains = (...parts: number[][]) => longestChain(parts.map((slices) => ({ slices })));
    assert.deepEqual(chains([1], [1, 2], [3], [3, 1], [3, 1, 2]), [3, 1, 2]);
    assert.deepEqual(chains([1], [1, 2], [3], [3, 1]), [1, 2]);
    assert.deepEqual(chains([1, 2], [3]), [3]);
    assert.deepEqual(chains(), []);
  });
});
