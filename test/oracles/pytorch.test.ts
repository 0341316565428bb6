// Files that torch.save wrote (pytorch_files.py), against the same tensors in safetensors.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { readTensors, type StoredTensor } from "./read-tensors.ts";

const FOLDER = "test/fixtures/oracles/pytorch";

async function tensorsOf(path: string): Promise<Map<string, StoredTensor>> {
  const { tensors } = await openCheckpoint(path);
  return new Map(
    [...tensors.values()].map(({ name, dtype, shape, file, offset, byteLength }) => {
      const data = new Uint8Array(readFileSync(file).subarray(offset, offset + byteLength));
      return [name, { dtype, shape, data }];
    }),
  );
}

const sorted = <T>(map: ReadonlyMap<string, T>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));

describe("Files written by torch.save", () => {
  for (const name of ["dtypes", "module", "views", "parameters", "nested", "protocol-4"]) {
    it(`hold the tensors that torch says: ${name}`, async () => {
      assert.deepEqual(sorted(await tensorsOf(`${FOLDER}/${name}.bin`)), sorted(await readTensors(`${FOLDER}/${name}.safetensors`)));
    });
  }

  it("hold the same in the format before PyTorch 1.6", async () => {
    assert.deepEqual(sorted(await tensorsOf(`${FOLDER}/legacy.bin`)), sorted(await readTensors(`${FOLDER}/module.safetensors`)));
  });

  it("are found in a folder by their index", async () => {
    assert.deepEqual(sorted(await tensorsOf(`${FOLDER}/sharded`)), sorted(await readTensors(`${FOLDER}/module.safetensors`)));
  });

  it("merge into safetensors", async () => {
    const { recipe } = parseRecipe(`merge_method: passthrough\nmodels: [{model: ${FOLDER}/sharded}]\n`, "recipe.yml");
    assert.ok(recipe);
    const { plan, diagnostics } = await planMerge(recipe, modelOpener("recipe.yml"));
    assert.ok(plan, JSON.stringify(diagnostics));
    const out = join(temporaryFolder(), "out");
    await runMerge(plan, { out, threads: 1 });
    assert.deepEqual(sorted(await readTensors(join(out, "model.safetensors"))), sorted(await readTensors(`${FOLDER}/module.safetensors`)));
    const [{ files } = { files: [] }] = JSON.parse(readFileSync(join(out, "weightsmith.json"), "utf8")).inputs;
    assert.equal(files.length, 2);
  });

  it("are refused where they hold code, or are not stored row by row", async () => {
    const strided = await rejectsWith("pytorch-strided", () => openCheckpoint(`${FOLDER}/transposed.bin`));
    assert.match(strided.message, /tensor transposed/);
    const code = await rejectsWith("pickle-global-refused", () => openCheckpoint(`${FOLDER}/module-object.bin`));
    assert.equal(code.found, "torch.nn.modules.linear.Linear");
  });
});
