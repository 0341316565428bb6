// Numbers that JSON has no words for, as Python's json module writes them. What else is refused is tested with safetensors' headers.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseJsonBytes } from "../../merge-core/formats/json.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";

const LIMITS = { maxBytes: 1000, maxDepth: 8 };
const parse = (text: string, nonFinite = true) => parseJsonBytes(new TextEncoder().encode(text), "config.json", { ...LIMITS, nonFinite });

/** As `json.dump` of Python writes the config of Mamba 2. */
const CONFIG = `{
  "architectures": ["Mamba2ForCausalLM"],
  "time_step_limit": [
    0.0,
    Infinity
  ],
  "torch_dtype": "float32",
  "vocab_size": 3,
  "low": -Infinity,
  "none": NaN
}
`;

describe("JSON with infinite numbers", () => {
  it("is read where Python may have written it", () => {
    assert.deepEqual(parse('{"a": [0.0, Infinity, -Infinity, NaN], "NaN": "Infinity \\" NaN"}'), {
      a: [0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN],
      NaN: 'Infinity " NaN',
    });
  });

  it("is refused elsewhere, and so are words that look like it", async () => {
    await rejectsWith("json-syntax", () => parse('{"a": NaN}', false));
    for (const text of ['{"a": +Infinity}', '{"a": nan}', '{"a": Inf}', '{"a": NaNs}', "{NaN: 1}", '{"a": "NaN}'])
      await rejectsWith("json-syntax", () => parse(text));
  });

  it("comes through a merge as it was, but for what changes", async () => {
    const folder = writeModel([floatTensor("model.embed_tokens.weight", [5, 2], new Float32Array(10))], { files: { "config.json": CONFIG } });
    const { recipe } = parseRecipe(`merge_method: passthrough\nmodels: [{model: ${folder}}]\nout_dtype: bfloat16\nparameters: {scale: 2}\n`, "recipe.yml");
    assert.ok(recipe);
    const { plan, diagnostics } = await planMerge(recipe, modelOpener("recipe.yml"));
    assert.ok(plan, JSON.stringify(diagnostics));
    const out = join(temporaryFolder(), "out");
    await runMerge(plan, { out, threads: 1 });
    const text = readFileSync(join(out, "config.json"), "utf8");
    assert.equal(text, CONFIG.replace('"float32"', '"bfloat16"').replace('"vocab_size": 3', '"vocab_size": 5'));
  });
});
