import assert from "node:assert/strict";
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeSideFiles } from "../../merge-core/run/side-files.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { planByHand } from "../helpers/plans.ts";

const tensors = ["a", "b", "c"].map((name, i) => floatTensor(name, [2, i + 1], Array(2 * (i + 1)).fill(i)));
const read = (folder: string, name: string) => readFileSync(join(folder, name), "utf8");

describe("side files", () => {
  it("config keeps the donor's text but for what changed", async () => {
    const donor = writeModel(tensors);
    const config = '{\n  "rope_theta": 10000.0,\n  "dtype": "float32",\n  "text_config": {"n": 2}\n}\n';
    writeFileSync(join(donor, "config.json"), config);
    const changes = [
      { path: ["dtype"], value: "bfloat16" },
      { path: ["text_config", "n"], value: 5 },
      { path: ["vocab_size"], value: 7 },
    ];
    const folder = temporaryFolder();
    await writeSideFiles(await planByHand({ method: "passthrough", models: [donor], config: changes }), folder, "out");
    assert.equal(read(folder, "config.json"), '{\n  "rope_theta": 10000.0,\n  "dtype": "bfloat16",\n  "text_config": {"n": 5},\n  "vocab_size": 7\n}\n');
  });

  it("index names the shard of every tensor and the totals", async () => {
    const folder = temporaryFolder();
    await writeSideFiles(await planByHand({ method: "passthrough", models: [writeModel(tensors)], perShard: 2 }), folder, "out");
    const index = JSON.parse(read(folder, "model.safetensors.index.json"));
    assert.deepEqual(index.weight_map, { a: "model-00001-of-00002.safetensors", b: "model-00001-of-00002.safetensors", c: "model-00002-of-00002.safetensors" });
    assert.deepEqual(index.metadata, { total_parameters: 12, total_size: 48 });
  });

  it("copies the donor's files through links, and the recipe as it was", async () => {
    const donor = writeModel(tensors, { files: { blob: "tokens" } });
    symlinkSync(join(donor, "blob"), join(donor, "tokenizer.json"));
    const folder = temporaryFolder();
    const plan = await planByHand({ method: "passthrough", models: [donor], donorFiles: ["tokenizer.json"] });
    await writeSideFiles(plan, folder, "out");
    assert.equal(read(folder, "tokenizer.json"), "tokens");
    assert.equal(read(folder, "mergekit_config.yml"), plan.recipe.text);
    assert.deepEqual(readdirSync(folder).sort(), ["README.md", "mergekit_config.yml", "tokenizer.json"]);
  });
});
