import assert from "node:assert/strict";
import { readAdapterFacts } from "../../../extension/editors/adapter-facts.ts";
import { openCheckpoint } from "../../../merge-core/checkpoints/open-checkpoint.ts";
import { rejectsWith } from "../../helpers/diagnostics.ts";
import { floatTensor, writeModel } from "../../helpers/models.ts";

const facts = async (files: Record<string, string>) => readAdapterFacts(await openCheckpoint(writeModel([floatTensor("a", [1], [1])], { files })));

describe("adapter facts", () => {
  it("are the settings that are set", async () => {
    const config = JSON.stringify({ peft_type: "LORA", r: 8, use_dora: false, rank_pattern: {}, modules_to_save: null, target_modules: ["q_proj"] });
    assert.deepEqual(await facts({ "adapter_config.json": config }), { peft_type: "LORA", r: 8, target_modules: ["q_proj"] });
  });

  it("are none for a model", async () => assert.equal(await facts({}), undefined));

  it("of a damaged config are a diagnostic", async () => {
    await rejectsWith("json-syntax", () => facts({ "adapter_config.json": "{" }));
    await rejectsWith("adapter-config-invalid", () => facts({ "adapter_config.json": "[]" }));
  });
});
