import assert from "node:assert/strict";
import { packedTensor } from "../../merge-core/checkpoints/packed.ts";
import { layerCount, layerOf, layerStacks, placeOf, renameLayer } from "../../merge-core/checkpoints/tensor-roles.ts";

describe("tensor roles", () => {
  for (const [name, role, layer] of [
    ["model.embed_tokens.weight", "embedding", undefined],
    ["transformer.wte.weight", "embedding", undefined],
    ["transformer.wpe.weight", "embedding", undefined],
    ["gpt_neox.embed_in.weight", "embedding", undefined],
    ["bert.embeddings.LayerNorm.weight", "norm", undefined],
    ["lm_head.weight", "head", undefined],
    ["embed_out.weight", "head", undefined],
    ["model.norm.weight", "norm", undefined],
    ["transformer.ln_f.bias", "norm", undefined],
    ["model.layers.3.input_layernorm.weight", "norm", 3],
    ["model.layers.3.self_attn.q_norm.weight", "norm", 3],
    ["h.11.ln_1.weight", "norm", 11],
    ["model.layers.12.self_attn.q_proj.weight", "attention", 12],
    ["model.layers.12.self_attn.q_proj.bias", "bias", 12],
    ["transformer.h.0.attn.c_attn.weight", "attention", 0],
    ["model.layers.0.mlp.gate_proj.weight", "mlp", 0],
    ["transformer.h.0.mlp.c_fc.weight", "mlp", 0],
    ["bert.encoder.layer.2.intermediate.dense.weight", "mlp", 2],
    ["model.layers.7.mlp.gate.weight", "router", 7],
    ["model.layers.7.block_sparse_moe.gate.weight", "router", 7],
    ["model.layers.7.block_sparse_moe.experts.5.w1.weight", "expert", 7],
    ["model.layers.7.mlp.shared_expert.up_proj.weight", "expert", 7],
    ["model.layers.7.mlp.experts.gate_up_proj", "expert", 7],
    ["0.auto_model.encoder.layer.4.attention.self.query.weight", "attention", 4],
    ["model.rotary_emb.inv_freq", "other", undefined],
  ] as const) {
    it(`${name} is ${role}${layer === undefined ? "" : ` of layer ${layer}`}`, () => {
      assert.deepEqual([placeOf(name).role, placeOf(name).layer, layerOf(name)], [role, layer, layer]);
    });
  }

  it("splits and renames at the first index only", () => {
    const name = "model.layers.7.mlp.experts.5.w1.weight";
    assert.deepEqual(placeOf(name), { role: "expert", layer: 7, prefix: "model.layers", rest: "mlp.experts.5.w1.weight" });
    assert.equal(renameLayer(name, 12), "model.layers.12.mlp.experts.5.w1.weight");
    assert.equal(renameLayer("lm_head.weight", 3), "lm_head.weight");
    assert.equal(renameLayer("$1.3.$&.x", 4), "$1.4.$&.x");
  });

  it("counts layers per stack", () => {
    const names = ["vision.blocks.3.w", "text.layers.0.w", "text.layers.9.w", "lm_head.weight"];
    assert.deepEqual(
      layerStacks(names),
      new Map([
        ["vision.blocks", 4],
        ["text.layers", 10],
      ]),
    );
    assert.equal(layerCount(names), 10);
    assert.equal(layerCount(["lm_head.weight"]), 0);
  });

  it("knows packed weights by their companions", () => {
    assert.equal(packedTensor("model.layers.0.mlp.up_proj.weight.absmax"), "bitsandbytes");
    assert.equal(packedTensor("model.layers.0.mlp.up_proj.weight.quant_state.bitsandbytes__nf4"), "bitsandbytes");
    assert.equal(packedTensor("model.layers.0.mlp.up_proj.qweight"), "gptq or awq");
    assert.equal(packedTensor("model.layers.0.mlp.experts.down_proj_blocks"), "mxfp4");
    assert.equal(packedTensor("model.layers.0.mlp.up_proj.weight_scale_inv"), "block-scaled fp8");
    assert.equal(packedTensor("model.layers.0.mlp.up_proj.weight"), undefined);
  });
});
