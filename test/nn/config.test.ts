import assert from "node:assert/strict";
import { parseDecoderConfig } from "../../merge-core/nn/config.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { tinyConfig, tinyConfigJson } from "../helpers/tiny-decoder.ts";

describe("decoder config", () => {
  it("fills in the defaults of transformers", () => {
    const config = parseDecoderConfig({
      model_type: "llama",
      vocab_size: 10,
      hidden_size: 12,
      intermediate_size: 20,
      num_hidden_layers: 1,
      num_attention_heads: 3,
    });
    assert.equal(config.kvHeads, 3);
    assert.equal(config.headDim, 4);
    assert.equal(config.ropeTheta, 10000);
    assert.equal(config.normEps, 1e-6);
    assert.equal(config.tiedHead, false);
    assert.deepEqual(config.eosTokenIds, []);
  });

  it("knows what sets the families apart", () => {
    const mistral = tinyConfig({ architectures: ["MistralForCausalLM"] });
    assert.deepEqual([mistral.slidingWindow, mistral.qkvBias], [4096, false]);
    assert.equal(tinyConfig({ architectures: ["MistralForCausalLM"], sliding_window: null }).slidingWindow, undefined);
    const qwen = tinyConfig({ architectures: ["Qwen2ForCausalLM"], sliding_window: 8 });
    assert.deepEqual([qwen.slidingWindow, qwen.qkvBias, qwen.outputBias], [undefined, true, false]);
    assert.equal(tinyConfig({ attention_bias: true }).outputBias, true);
  });

  it("reads rope settings of transformers 4 and 5 alike", () => {
    const scaling = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 32 };
    const four = tinyConfig({ rope_theta: 500, rope_scaling: scaling });
    assert.deepEqual(four.ropeScaling, { type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalContext: 32 });
    assert.deepEqual(tinyConfig({ rope_theta: undefined, rope_parameters: { ...scaling, rope_theta: 500 } }), four);
  });

  it("takes several end tokens", () => assert.deepEqual(tinyConfig({ eos_token_id: [2, 5] }).eosTokenIds, [2, 5]));

  for (const [what, changes, code] of [
    ["another architecture", { architectures: ["BertModel"] }, "unsupported-architecture"],
    ["no architecture", { architectures: undefined, model_type: undefined }, "unsupported-architecture"],
    ["another activation", { hidden_act: "gelu" }, "unsupported-config"],
    ["another rope", { rope_scaling: { rope_type: "yarn", factor: 4 } }, "unsupported-config"],
    ["windows in some layers only", { architectures: ["Qwen2ForCausalLM"], use_sliding_window: true, sliding_window: 8 }, "unsupported-config"],
    ["a size that is not a number", { hidden_size: "8" }, "invalid-config"],
    ["a size of zero", { num_hidden_layers: 0 }, "invalid-config"],
    ["heads that cannot share", { num_key_value_heads: 3 }, "invalid-config"],
    ["an odd head", { head_dim: 3 }, "invalid-config"],
    ["a negative token", { eos_token_id: -1 }, "invalid-config"],
  ] as const) {
    it(`refuses ${what}`, async () => {
      const { file } = await rejectsWith(code, () => parseDecoderConfig(tinyConfigJson(changes), "m/config.json"));
      assert.equal(file, "m/config.json");
    });
  }

  it("names the architecture that was probably meant", async () => {
    const { remedy } = await rejectsWith("unsupported-architecture", () => tinyConfig({ architectures: ["LlamaForCasualLM"] }));
    assert.equal(remedy, "did you mean LlamaForCausalLM?");
  });
});
