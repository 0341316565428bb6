// The adapter commands of the built program.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { families } from "../../merge-core/adapters/registry.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { writeTinyModel } from "../helpers/tiny-decoder.ts";
import { readTensors, valuesOf } from "../oracles/read-tensors.ts";

const PROGRAM = fileURLToPath(new URL("./weightsmith.js", import.meta.url));
const ORACLES = "test/fixtures/oracles";

function adapter(...args: string[]): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, "adapter", ...args], { encoding: "utf8" });
  return { status, out: stdout, err: stderr };
}

const factorsOf = async (folder: string): Promise<Map<string, Float32Array>> =>
  new Map([...(await readTensors(join(folder, "adapter_model.safetensors")))].map(([name, tensor]) => [name, valuesOf(tensor)]));

/** An adapter of the same run with other weights. */
async function laterStep(folder: string, change: (x: number, i: number) => number): Promise<string> {
  const out = join(temporaryFolder(), "later");
  mkdirSync(out);
  copyFileSync(join(folder, "adapter_config.json"), join(out, "adapter_config.json"));
  const tensors = [...(await readTensors(join(folder, "adapter_model.safetensors")))];
  const changed = tensors.map(([name, tensor]) => floatTensor(name, tensor.shape, valuesOf(tensor).map(change)));
  copyFileSync(join(writeModel(changed), "model.safetensors"), join(out, "adapter_model.safetensors"));
  return out;
}

describe("weightsmith adapter", () => {
  it("lists every family", () => {
    const listed = JSON.parse(adapter("families", "--json").out);
    assert.deepEqual(
      listed.map(({ type }: { type: string }) => type),
      families.map(({ type }) => type),
    );
    const table = adapter("families").out;
    for (const { type } of families) assert.match(table, new RegExp(`^${type} `, "m"));
  });

  it("names its subcommands, and refuses others", () => {
    assert.match(adapter("--help").out, /weightsmith adapter fold BASE ADAPTER OUT/);
    assert.match(adapter("inspect", "--help").out, /--base MODEL/);
    const { status, err } = adapter("inspct");
    assert.equal(status, 2);
    assert.match(err, /did you mean adapter inspect/);
    assert.equal(adapter().status, 2);
  });

  it("inspects, in text and in JSON", () => {
    const path = `${ORACLES}/peft-families/vera`;
    assert.match(adapter("inspect", path, "--base", `${ORACLES}/llama-tiny`).out, /fits +\S+llama-tiny: yes/);
    const { type, modules } = JSON.parse(adapter("inspect", path, "--json").out);
    assert.deepEqual([type, modules.length], ["VERA", 6]);
  });

  it("folds into a model, and leaves nothing where the adapter does not fit", async () => {
    const out = join(temporaryFolder(), "out");
    const { status, err, out: text } = adapter("fold", `${ORACLES}/llama-tiny`, `${ORACLES}/peft-families/miss`, out, "--json");
    assert.equal(status, 0, err);
    assert.equal(JSON.parse(text).adaptedTensors, 6);
    const [ours, golden] = [await readTensors(join(out, "model.safetensors")), await readTensors(`${ORACLES}/peft-families/miss/merged.safetensors`)];
    for (const [name, tensor] of golden) {
      const [x, y] = [valuesOf(ours.get(name)), valuesOf(tensor)];
      assert.ok(
        x.every((value, i) => Math.abs(value - (y[i] ?? Number.NaN)) < 1e-6),
        name,
      );
    }
    const nowhere = join(temporaryFolder(), "out");
    assert.equal(adapter("fold", `${ORACLES}/gpt2-tiny`, `${ORACLES}/peft-families/miss`, nowhere).status, 2);
    assert.ok(!existsSync(nowhere) && !existsSync(`${nowhere}.partial`));
  });

  it("tells what is wrong with an adapter by its own files, with the nearest name", () => {
    const told = (from: string, to: string) => {
      const folder = join(temporaryFolder(), "adapter");
      cpSync(`${ORACLES}/peft/lora`, folder, { recursive: true });
      const file = join(folder, "adapter_model.safetensors");
      const bytes = readFileSync(file);
      const end = 8 + Number(bytes.readBigUInt64LE(0));
      const header = bytes.subarray(8, end).toString();
      const changed = Buffer.from(header.replace(from, to));
      assert.notEqual(changed.toString(), header);
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(changed.length));
      writeFileSync(file, Buffer.concat([length, changed, bytes.subarray(end)]));
      return adapter("fold", `${ORACLES}/llama-tiny`, folder, join(temporaryFolder(), "out")).err;
    };
    assert.match(
      told("lora_B", "lora_b"),
      /^error\[adapter-tensor-unexpected\] \S+adapter_model\.safetensors: tensor \S+lora_b\.weight .*did you mean lora_B\?/,
    );
    assert.match(told("_proj.lora_B", "_prj.lora_B"), /^error\[adapter-(incomplete|target-missing)\] \S+adapter_model\.safetensors: .*_pro?j/);
  });

  it("merges, and tells how far from the exact sum the result is", () => {
    const out = join(temporaryFolder(), "out");
    const [a, b] = [`${ORACLES}/peft/lora`, `${ORACLES}/peft/patterns`];
    const { status, err, out: text } = adapter("merge", a, b, "--weights", "0.7,-0.3", "--rank", "2", "-o", out);
    assert.equal(status, 0, err);
    assert.match(text, /14 modules by exact, [\d,]+ parameters/);
    assert.match(text, /\d\.\d\de-\d/);
    assert.deepEqual(JSON.parse(adapter("inspect", out, "--json").out).ranks, { 2: 14 });
    assert.match(adapter("merge", a, b, "-o", out).err, /output-exists/);
    assert.match(adapter("merge", a, "--weights", "x", "-o", out).err, /--weights is not a list of numbers/);
    assert.match(adapter("merge", a).err, /--out is missing/);
    assert.match(adapter("merge", "-o", out).err, /no adapters to merge/);
  });

  it("extracts, and tells how much of the change is lost", () => {
    const [model, out] = [join(temporaryFolder(), "model"), join(temporaryFolder(), "out")];
    const base = `${ORACLES}/llama-tiny`;
    assert.equal(adapter("fold", base, `${ORACLES}/peft/lora`, model).status, 0);
    const { status, err, out: text } = adapter("extract", base, model, out, "--rank", "2");
    assert.equal(status, 0, err);
    assert.match(text, /14 modules, [\d,]+ parameters, in .*; [\d.]+ % of the change is lost/);
    assert.match(adapter("inspect", out, "--base", base).out, /: yes$/m);
    assert.match(adapter("extract", base, model, out).err, /neither a rank nor a share of energy/);
    assert.match(adapter("extract", base, model, out, "--energy", "2").err, /--energy is not a share/);
  });

  it("packs changes to one bit, and folds them again", () => {
    const [model, packed, out] = ["model", "packed", "out"].map((name) => join(temporaryFolder(), name)) as [string, string, string];
    const base = `${ORACLES}/llama-tiny`;
    assert.equal(adapter("fold", base, `${ORACLES}/peft/lora`, model).status, 0);
    const { status, err, out: text } = adapter("extract", base, model, packed, "--one-bit", "both");
    assert.equal(status, 0, err);
    assert.match(text, /14 matrices packed, 0 tensors whole/);
    assert.equal(adapter("fold", base, packed, out).status, 0);
    assert.match(adapter("extract", base, model, out, "--one-bit", "both", "--rank", "2").err, /--one-bit goes without/);
  });

  it("averages checkpoints of one run by loss or step, as mwa of recipes does", async () => {
    const first = `${ORACLES}/peft/lora`;
    const later = await laterStep(first, (x, i) => x / 2 + Math.sin(i));
    const folders = [first, later];
    const merge = (method: string, ...options: string[]) => {
      const out = join(temporaryFolder(), "mean");
      return { ...adapter("merge", ...folders, "--method", method, "-o", out, ...options), folder: out };
    };
    // (1 / loss)^p or step^p over their sum; of two values the z-scores are 1 and -1.
    const e = Math.exp(2 * 0.7);
    for (const [method, options, weights] of [
      ["mwa", ["--loss", "1,3"], [0.75, 0.25]],
      ["mwa", ["--step", "100,300"], [0.25, 0.75]],
      ["mwa", ["--loss", "1,3", "--penalty", "2"], [0.9, 0.1]],
      ["mwa", ["--loss", "1,3", "--penalty", "0.7", "--softmax"], [e / (1 + e), 1 / (1 + e)]],
      ["average", ["--loss", "1,3", "--penalty", "0"], [0.5, 0.5]],
      ["average", [], [0.5, 0.5]],
      ["average", ["--weights", "3,1"], [0.75, 0.25]],
    ] as const) {
      const { status, err, folder } = merge(method, ...options);
      assert.equal(status, 0, err);
      const { weights: used } = JSON.parse(readFileSync(join(folder, "weightsmith.json"), "utf8"));
      for (const [i, weight] of weights.entries()) assert.ok(Math.abs(used[i] - weight) < 1e-12);
      const [a, b, mean] = [await factorsOf(first), await factorsOf(later), await factorsOf(folder)];
      assert.equal(mean.size, a.size);
      for (const [name, values] of mean)
        for (const [i, x] of values.entries()) {
          // Alpha over rank goes into B, and the result has scale 1.
          const scale = name.includes("lora_B") ? 2 : 1;
          assert.ok(Math.abs(x - scale * (weights[0] * (a.get(name)?.[i] ?? Number.NaN) + weights[1] * (b.get(name)?.[i] ?? 0))) < 1e-5, name);
        }
    }
  });

  it("merges changes by the recipes' knots and pcb, with their parameters and the authors' weights", () => {
    const merge = (...options: string[]) => adapter("merge", `${ORACLES}/peft/lora`, `${ORACLES}/peft/rslora`, ...options);
    for (const [method, weight, given, parameters] of [
      ["knots", 1, "alpha=1, density=0.5", { density: 0.5, alpha: 1, elect: 1 }],
      ["pcb", 1.2, "ratio=0.3", { ratio: 0.3, quantile: 0.01, variant: 3 }],
    ] as const) {
      const out = join(temporaryFolder(), "out");
      const { status, err, out: text } = merge("--method", method, "--parameters", given, "-o", out, "--json");
      assert.equal(status, 0, err);
      const { modules, largestError, type } = JSON.parse(text);
      assert.deepEqual([modules.length, type, largestError > 0], [14, "LORA", true]);
      const told = JSON.parse(readFileSync(join(out, "weightsmith.json"), "utf8"));
      assert.deepEqual([told.weights, told.parameters], [[weight, weight], parameters]);
    }
    const out = join(temporaryFolder(), "out");
    assert.match(merge("--method", "knots", "--density", "0.5", "-o", out).err, /--parameters density=X/);
    assert.match(merge("--method", "pcb", "--parameters", "ratoi=0.5", "-o", out).err, /unknown-parameter.*did you mean ratio\?/s);
    assert.match(merge("--method", "pcb", "--parameters", "ratio", "-o", out).err, /not a list of names and numbers/);
    assert.match(merge("--parameters", "ratio=1", "-o", out).err, /exact takes no --parameters/);
  });

  it("compares what adapters change", () => {
    const { status, err, out } = adapter("compare", `${ORACLES}/peft/lora`, `${ORACLES}/peft/rslora`);
    assert.equal(status, 0, err);
    assert.match(out, /peft\/lora +\S+peft\/rslora +4 +-?0\.\d{3} +\d+\.\d %/);
    assert.match(out, /contradict each other most:\nmodule/);
    assert.equal(JSON.parse(adapter("compare", `${ORACLES}/peft/lora`, `${ORACLES}/peft/rslora`, "--json").out).modules.length, 14);
    assert.match(adapter("compare", `${ORACLES}/peft/lora`).err, /two adapters/);
  });

  it("averages rotations as rotations", () => {
    const out = join(temporaryFolder(), "out");
    const oft = `${ORACLES}/peft-families/oft`;
    const { status, err, out: text } = adapter("merge", oft, oft, "--method", "average", "-o", out);
    assert.equal(status, 0, err);
    assert.match(text, /\d+ modules by average, .*; OFT, as the adapters are/);
    assert.match(adapter("inspect", out, "--base", `${ORACLES}/llama-tiny`).out, /: yes$/m);
  });

  it("weighs other methods by loss or step, tells by what, and refuses what is no metric", () => {
    const folder = `${ORACLES}/peft/lora`;
    const merge = (...options: string[]) => adapter("merge", folder, folder, "-o", join(temporaryFolder(), "mean"), "--json", ...options);
    const { status, err, out } = merge("--rank", "2", "--loss", "1,3");
    assert.equal(status, 0, err);
    const { weights, loss, penalty, softmax } = JSON.parse(readFileSync(join(JSON.parse(out).out, "weightsmith.json"), "utf8"));
    assert.deepEqual([loss, penalty, softmax], [[1, 3], 1, false]);
    assert.ok(Math.abs(weights[0] - 0.75) < 1e-12 && Math.abs(weights[1] - 0.25) < 1e-12);
    assert.match(merge("--method", "mwa").err, /mwa needs the loss/);
    assert.match(merge("--method", "mwa", "--loss", "1,0").err, /must be above 0/);
    assert.match(merge("--method", "mwa", "--step", "1,2,3").err, /one step for each adapter/);
    assert.match(merge("--method", "mwa", "--loss", "1,2", "--penalty", "-1").err, /--penalty/);
    assert.match(merge("--method", "mwa", "--loss", "1,2", "--weights", "1,1").err, /one source/);
  });

  it("trains in slices, and takes one out again", () => {
    const folder = temporaryFolder();
    writeTinyModel(join(folder, "model"));
    for (const name of ["march", "april"]) writeFileSync(join(folder, `${name}.jsonl`), `{"prompt": "${name[0]}a", "completion": "b"}`);
    const config = ["model: model", "data: { train: [march.jsonl, april.jsonl] }", "method: lora", "lora: { r: 1, target_modules: [q_proj] }"];
    writeFileSync(join(folder, "train.yml"), [...config, "slices: { layers: 1, orders: 2 }", "steps: 2"].join("\n"));
    const out = join(folder, "sliced");
    const trained = spawnSync(process.execPath, [PROGRAM, "train", join(folder, "train.yml"), out, "--progress-json"], { encoding: "utf8" });
    assert.equal(trained.status, 0, trained.stderr);
    assert.match(trained.stderr, /\{"progress":\{"stage":"train","done":8,"total":8/);
    const without = join(folder, "without");
    const { status, err, out: text } = adapter("remove-slice", out, "march.jsonl", "-o", without);
    assert.equal(status, 0, err);
    assert.match(text, /trained on slices 2 \(april\.jsonl\).*removed: 1 \(march\.jsonl\); 3 parts had seen it/s);
    assert.equal(JSON.parse(adapter("inspect", without, "--json").out).modules.length, 1);
    assert.match(adapter("remove-slice", without, "marc.jsonl", "-o", out).err, /slice-unknown.*did you mean march\.jsonl/s);
    assert.match(adapter("remove-slice", out).err, /SLICE is missing/);
  });

  it("asks for what a transfer needs", () => {
    const path = `${ORACLES}/peft/lora`;
    assert.match(adapter("transfer", path, "--from", "a", "--to", "b", "-o", "c").err, /--seeds is missing/);
    const rest = ["--from", "a", "--to", "b", "--seeds", "no.jsonl", "-o", "c"];
    assert.match(adapter("transfer", path, ...rest, "--lr", "x").err, /--lr is not usable/);
    assert.match(adapter("transfer", path, ...rest, "--epochs", "0").err, /--epochs is not usable/);
    assert.match(adapter("transfer", path, ...rest).err, /file-missing.*no\.jsonl/s);
  });
});
