// weightsmith verify on folders that the program itself merged, whole and damaged in every way it looks for.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { appendFileSync, copyFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { folderHashes } from "../helpers/trees.ts";

const PROGRAM = fileURLToPath(new URL("./weightsmith.js", import.meta.url));

function weightsmith(...args: string[]): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], { encoding: "utf8" });
  return { status, out: stdout, err: stderr };
}

const UP = "model.layers.0.mlp.up_proj.weight";
const CONFIG = { architectures: ["LlamaForCausalLM"], torch_dtype: "float32" };

interface Merged {
  readonly folder: string;
  readonly out: string;
  readonly one: string;
}

/** Two models and a recipe that names them relative to its own folder, merged with random masks. */
function merged(): Merged {
  const folder = temporaryFolder();
  const values = (salt: number) => Float32Array.from({ length: 6000 }, (_, i) => Math.sin(i * salt + salt));
  for (const [name, salt] of [["base", 1] as const, ["one", 2] as const]) {
    const position = { name: "position_ids", dtype: "I64" as const, shape: [2], data: new Uint8Array(16).fill(1) };
    writeModel([floatTensor(UP, [6, 1000], values(salt)), position], { folder: join(folder, name), config: CONFIG, files: { "tokenizer.json": "{}" } });
  }
  const recipe = join(folder, "recipe.yml");
  writeFileSync(recipe, "merge_method: dare_linear\nbase_model: base\nmodels:\n  - model: one\n    parameters: { weight: 1, density: 0.5 }\n");
  const out = join(folder, "out");
  const { status, err } = weightsmith("merge", recipe, out, "--seed", "9", "--quiet");
  assert.equal(status, 0, err);
  return { folder, out, one: join(folder, "one") };
}

/** The codes of the problems that verify finds, with its exit status. */
function problems(...args: string[]): { status: number | null; codes: string[]; notes: string } {
  const { status, out } = weightsmith("verify", ...args, "--json", "--quiet");
  const { diagnostics } = JSON.parse(out) as { diagnostics: { code: string; message: string; notes?: string[] }[] };
  return { status, codes: diagnostics.map(({ code }) => code), notes: diagnostics.flatMap(({ message, notes = [] }) => [message, ...notes]).join("\n") };
}

function flipByte(file: string, fromEnd: number): void {
  const bytes = readFileSync(file);
  bytes[bytes.length - fromEnd] = (bytes[bytes.length - fromEnd] ?? 0) ^ 1;
  writeFileSync(file, bytes);
}

describe("weightsmith verify", () => {
  it("accepts what merge wrote, and merging again gives every byte; nothing is written", () => {
    const { folder, out } = merged();
    const before = folderHashes(out);
    const checked = weightsmith("verify", out);
    assert.equal(checked.status, 0, checked.err);
    assert.match(checked.out, /4 files, .* as they were written/);
    const { status, out: text } = weightsmith("verify", out, "--rebuild", "--models", folder, "--json", "--quiet");
    assert.equal(status, 0, text);
    assert.equal(JSON.parse(text).rebuiltTensors, 2);
    assert.deepEqual(folderHashes(out), before);
    assert.deepEqual(readdirSync(folder).sort(), ["base", "one", "out", "recipe.yml"]);
  });

  it("names each file that is missing, of another size or of other content, and a changed recipe", () => {
    const { out } = merged();
    rmSync(join(out, "tokenizer.json"));
    appendFileSync(join(out, "config.json"), " ");
    flipByte(join(out, "model.safetensors"), 100);
    appendFileSync(join(out, "mergekit_config.yml"), "# changed\n");
    const { status, codes } = problems(out);
    assert.equal(status, 2);
    assert.deepEqual(codes.sort(), ["output-file-missing", "output-hash-differs", "output-recipe-differs", "output-size-differs", "output-size-differs"]);
  });

  it("warns of tensor files that a loader may take for part of the model, and leaves the model card to the user", () => {
    const { out } = merged();
    copyFileSync(join(out, "model.safetensors"), join(out, "other.safetensors"));
    appendFileSync(join(out, "README.md"), "edited");
    assert.deepEqual(problems(out), { status: 0, codes: ["output-file-unknown"], notes: "file is not part of the merge, but a loader may read it" });
  });

  it("names the first tensor and element that merging again makes otherwise", () => {
    const { folder, out } = merged();
    flipByte(join(out, "model.safetensors"), 4 * 10);
    const { status, codes, notes } = problems(out, "--rebuild", "--models", folder);
    assert.equal(status, 2);
    assert.deepEqual(codes, ["output-hash-differs", "rebuilt-tensor-differs"]);
    assert.match(notes, new RegExp(`${UP} has other values`));
    assert.match(notes, /first at element 5990/);
  });

  it("tells changed copies, models, configs and missing tensors apart", () => {
    const copied = merged();
    flipByte(join(copied.out, "model.safetensors"), 4 * 6000 + 3);
    assert.match(problems(copied.out, "--rebuild", "--models", copied.folder).notes, /position_ids has other values[\s\S]*first at element 1/);
    const changed = merged();
    writeModel([floatTensor(UP, [6, 1000], new Float32Array(6000), "BF16")], { folder: changed.one });
    assert.ok(problems(changed.out, "--rebuild", "--models", changed.folder).codes.includes("input-differs"));
    const configured = merged();
    writeFileSync(join(configured.folder, "base", "config.json"), JSON.stringify({ ...CONFIG, extra: 1 }));
    assert.deepEqual(problems(configured.out, "--rebuild", "--models", configured.folder).codes, ["rebuilt-config-differs"]);
    const short = merged();
    writeModel([floatTensor(UP, [6, 1000], new Float32Array(6000))], { folder: short.out });
    assert.ok(problems(short.out, "--rebuild", "--models", short.folder).codes.includes("rebuilt-tensors-differ"));
  });

  it("refuses folders without a manifest, and manifests that are damaged or reach outside their folder", () => {
    assert.deepEqual(problems(temporaryFolder()).codes, ["file-missing"]);
    const { out } = merged();
    const file = join(out, "weightsmith.json");
    const manifest = JSON.parse(readFileSync(file, "utf8"));
    for (const outputs of [[{ file: "../one/model.safetensors", sizeBytes: 1 }], [{ file: "a", sizeBytes: -1 }], {}, [null]]) {
      writeFileSync(file, JSON.stringify({ ...manifest, outputs }));
      assert.deepEqual(problems(out).codes, ["manifest-invalid"], JSON.stringify(outputs));
    }
    writeFileSync(file, "{");
    assert.deepEqual(problems(out).codes, ["json-syntax"]);
    writeFileSync(file, JSON.stringify({ format: 1, weightsmith: "0.1.0", command: "adapter extract" }));
    assert.deepEqual(problems(out).codes, ["manifest-without-sums"]);
  });
});
