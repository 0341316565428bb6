// Files of tensors that belong to no architecture: equal names are all that a merge needs.
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { type PlanOptions, planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { verifyOutput } from "../../merge-core/run/verify.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, type TensorData } from "../helpers/models.ts";
import { readTensors, valuesOf } from "../oracles/read-tensors.ts";

const tensors = (value: number): TensorData[] => [
  floatTensor("down.conv.weight", [1, 1, 2, 2], [value, 1, 2, 3]),
  floatTensor("logit_scale", [], [value]),
  floatTensor("noise", [2], [value, -value], "F16"),
  { name: "steps", dtype: "I64", shape: [1], data: new Uint8Array(8).fill(value) },
];

/** A folder of files with what models never have beside them. */
function folderOfFiles(): string {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "a.safetensors"), encodeSafetensors(tensors(1)));
  writeFileSync(join(folder, "b.safetensors"), encodeSafetensors(tensors(3)));
  mkdirSync(join(folder, "c"));
  writeFileSync(join(folder, "c", "unet.safetensors"), encodeSafetensors(tensors(8)));
  writeFileSync(join(folder, "vae.txt"), "not for the output");
  return folder;
}

async function plan(folder: string, text: string, options: PlanOptions = {}) {
  const file = join(folder, "recipe.yml");
  const { recipe } = parseRecipe(text, file);
  assert.ok(recipe);
  return planMerge(recipe, modelOpener(file), options);
}

const recipe = (...models: readonly string[]) => `merge_method: linear\nparameters: {weight: 1}\nmodels:\n${models.map((m) => `  - model: ${m}\n`).join("")}`;

/** Sums of a few numbers below 4 in float32. */
function near(actual: number | undefined, expected: number, name: string): void {
  assert.ok(Math.abs((actual ?? Number.NaN) - expected) <= 5e-7, `${name}: ${actual}, mergekit ${expected}`);
}

describe("Files of tensors", () => {
  it("merge by equal names: files and folders without a config give one file, its card and its manifest", async () => {
    const folder = folderOfFiles();
    const { plan: planned, diagnostics } = await plan(folder, recipe("a.safetensors", "b.safetensors", "c"));
    assert.ok(planned);
    assert.deepEqual(
      diagnostics.map(({ code, severity }) => [code, severity]),
      [["tensors-alone", "info"]],
    );
    const out = join(folder, "out");
    await runMerge(planned, { out, threads: 1 });
    assert.deepEqual(readdirSync(out).sort(), ["README.md", "mergekit_config.yml", "model.safetensors", "weightsmith.json"]);
    const merged = await readTensors(join(out, "model.safetensors"));
    const seen = [...merged].map(([name, tensor]) => [name, tensor.dtype, tensor.shape, tensor.dtype === "I64" ? [] : [...valuesOf(tensor)]]);
    assert.deepEqual(seen.sort(), [
      ["down.conv.weight", "F32", [1, 1, 2, 2], [4, 1, 2, 3]],
      ["logit_scale", "F32", [], [4]],
      ["noise", "F16", [2], [4, -4]],
      ["steps", "I64", [1], []],
    ]);
  });

  it("of PyTorch merge with safetensors: here the same tensors, so the result is either", async () => {
    const files = ["module.bin", "module.safetensors"].map((name) => resolve("test/fixtures/oracles/pytorch", name));
    const folder = temporaryFolder();
    const { plan: planned } = await plan(folder, recipe(...files));
    assert.ok(planned);
    await runMerge(planned, { out: join(folder, "out"), threads: 1 });
    const [ours, theirs] = await Promise.all([join(folder, "out", "model.safetensors"), files[1] ?? ""].map(readTensors));
    assert.deepEqual([...(ours ?? [])].sort(), [...(theirs ?? [])].sort());
  });

  it("give what mergekit-pytorch makes of them (mergekit_raw.py)", async () => {
    const source = "test/fixtures/oracles/mergekit-raw";
    const { plan: planned } = await plan(source, readFileSync(join(source, "recipe.yml"), "utf8"));
    assert.ok(planned);
    const out = join(temporaryFolder(), "out");
    await runMerge(planned, { out, threads: 1 });
    const [ours, theirs] = [await readTensors(join(out, "model.safetensors")), await readTensors(join(source, "merged.safetensors"))];
    assert.deepEqual([...ours.keys()].sort(), [...theirs.keys()].sort());
    for (const [name, expected] of theirs) {
      const actual = valuesOf(ours.get(name));
      for (const [i, value] of valuesOf(expected).entries()) near(actual[i], value, name);
    }
  });

  for (const names of ["union", "intersection"])
    it(`of different names give what mergekit-pytorch makes of their ${names}`, async () => {
      const source = "test/fixtures/oracles/mergekit-raw";
      const { plan: planned, diagnostics } = await plan(source, `${readFileSync(join(source, "uneven.yml"), "utf8")}tensor_names: ${names}\n`);
      assert.ok(planned);
      assert.deepEqual([...new Set(diagnostics.map(({ severity }) => severity))], ["info"]);
      const out = join(temporaryFolder(), "out");
      await runMerge(planned, { out, threads: 1 });
      const [ours, theirs] = [await readTensors(join(out, "model.safetensors")), await readTensors(join(source, `${names}.safetensors`))];
      assert.deepEqual([...ours.keys()].sort(), names === "union" ? ["extra", "more", "own", "scale"] : ["scale"]);
      assert.deepEqual([...theirs.keys()].sort(), [...ours.keys()].sort());
      for (const [name, expected] of theirs) for (const [i, value] of valuesOf(expected).entries()) near(valuesOf(ours.get(name))[i], value, name);
    });

  it("that only some have: merged where the method can, else taken from the only one, else refused", async () => {
    const folder = temporaryFolder();
    const write = (name: string, values: Readonly<Record<string, number>>) =>
      writeFileSync(join(folder, `${name}.safetensors`), encodeSafetensors(Object.entries(values).map(([tensor, value]) => floatTensor(tensor, [1], [value]))));
    write("base", { all: 1, of_base: 2, base_and_a: 3 });
    write("a", { all: 2, of_a: 4, base_and_a: 5 });
    write("b", { all: 4 });
    const text =
      "merge_method: task_arithmetic\nbase_model: base.safetensors\nparameters: {weight: 0.5}\nmodels: [{model: a.safetensors}, {model: b.safetensors}]\ntensor_names: union\ndtype: bfloat16\n";
    const { plan: planned, diagnostics } = await plan(folder, text);
    assert.deepEqual(new Set(diagnostics.map(({ code }) => code)), new Set(["tensors-alone", "tensor-of-one", "tensor-of-some"]));
    assert.ok(planned);
    await runMerge(planned, { out: join(folder, "out"), threads: 1 });
    const merged = await readTensors(join(folder, "out", "model.safetensors"));
    const seen = Object.fromEntries([...merged].map(([name, tensor]) => [name, [tensor.dtype, ...valuesOf(tensor)]]));
    assert.deepEqual(seen, { all: ["BF16", 3], of_base: ["BF16", 2], of_a: ["BF16", 4], base_and_a: ["BF16", 4] });
    assert.deepEqual(
      (await plan(folder, text.replace("union", "intersection"))).plan?.jobs.map(({ name }) => name),
      ["all"],
    );

    write("b", { all: 4, of_a: 6 });
    assert.deepEqual(
      (await plan(folder, text)).diagnostics.filter(({ severity }) => severity === "error").map(({ code, found }) => [code, found]),
      [
        ["tensor-missing", "of_a of shape [1]"],
        ["tensor-missing", "of_a of shape [1]"],
      ],
    );
    write("b", { other: 1 });
    assert.deepEqual(
      (await plan(folder, text.replace("union", "intersection"))).diagnostics.filter(({ severity }) => severity === "error").map(({ code }) => code),
      ["no-common-tensor"],
    );
  });

  it("larger than a shard give several files and their index", async () => {
    const folder = folderOfFiles();
    const { plan: planned } = await plan(folder, recipe("a.safetensors", "b.safetensors"), { shardBytes: 16 });
    assert.ok(planned);
    const out = join(folder, "out");
    await runMerge(planned, { out, threads: 1 });
    const index = JSON.parse(readFileSync(join(out, "model.safetensors.index.json"), "utf8"));
    assert.deepEqual(Object.keys(index.weight_map).sort(), ["down.conv.weight", "logit_scale", "noise", "steps"]);
    const files = [...new Set(Object.values(index.weight_map))].sort();
    assert.deepEqual(
      files,
      readdirSync(out)
        .filter((name) => name.endsWith(".safetensors"))
        .sort(),
    );
    assert.deepEqual((await verifyOutput(out)).diagnostics, []);
  });

  it("with different names are refused, and each name is told", async () => {
    const folder = folderOfFiles();
    writeFileSync(join(folder, "b.safetensors"), encodeSafetensors(tensors(3).slice(1)));
    const { plan: planned, diagnostics } = await plan(folder, recipe("a.safetensors", "b.safetensors"));
    assert.equal(planned, undefined);
    assert.deepEqual(
      diagnostics.map(({ code, found }) => [code, found]),
      [["tensor-missing", "no down.conv.weight"]],
    );
  });
});
