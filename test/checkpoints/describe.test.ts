import assert from "node:assert/strict";
import { describeCheckpoint } from "../../merge-core/checkpoints/describe.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";

describe("describeCheckpoint", () => {
  it("counts tensors, parameters and bytes by dtype and role", async () => {
    const folder = writeModel(
      [
        floatTensor("model.embed_tokens.weight", [4, 2], Array(8).fill(1), "BF16"),
        floatTensor("model.layers.0.mlp.up_proj.weight", [2, 3], Array(6).fill(1), "BF16"),
        floatTensor("model.norm.weight", [2], [1, 1], "F32"),
      ],
      { config: { model_type: "llama", vocab_size: 4, id2label: {} }, files: { "tokenizer.json": "{}" } },
    );
    const summary = describeCheckpoint(await openCheckpoint(folder));
    assert.equal(summary.parameters, 16);
    assert.equal(summary.bytes, 36);
    assert.deepEqual(summary.byDtype, { BF16: { tensors: 2, parameters: 14, bytes: 28 }, F32: { tensors: 1, parameters: 2, bytes: 8 } });
    assert.deepEqual(summary.byRole.mlp, { tensors: 1, parameters: 6, bytes: 12 });
    assert.deepEqual(summary.tensors[1], { name: "model.layers.0.mlp.up_proj.weight", dtype: "BF16", shape: [2, 3], bytes: 12, role: "mlp", layer: 0 });
    assert.equal(summary.layers, 1);
    assert.deepEqual(summary.config, { model_type: "llama", vocab_size: 4 });
    assert.deepEqual(JSON.parse(JSON.stringify(summary)), summary);
  });
});
