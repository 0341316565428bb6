import assert from "node:assert/strict";
import { loraScale } from "../../merge-core/adapters/peft-config.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";

const scaleOf = (pattern: string, module: string): number => loraScale({ lora_alpha: 8, alpha_pattern: { [pattern]: 32 } }, "c.json")(module, 4);

describe("alpha_pattern", () => {
  it("matches the end of a module path, by name or by expression", () => {
    assert.equal(scaleOf("q_proj", "model.layers.0.self_attn.q_proj"), 8);
    assert.equal(scaleOf("layers\\.[01]\\..*q_proj", "model.layers.1.self_attn.q_proj"), 8);
    assert.equal(scaleOf("(q|k)_proj", "model.layers.1.self_attn.k_proj"), 8);
    assert.equal(scaleOf("q_proj", "model.layers.0.self_attn.q_proj_extra"), 2, "alpha of the whole adapter");
  });

  it("refuses expressions that are broken, that could hang, or that are absurdly long", async () => {
    for (const pattern of ["(", "(a+)+", "(a|a)*", "(x{1,9})+", "(.*a){20}", "a".repeat(1001)]) {
      await rejectsWith("adapter-config-invalid", () => scaleOf(pattern, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"));
    }
  });
});
