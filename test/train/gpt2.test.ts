// GPT-2 through the built program: trained, folded and measured.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../helpers/folders.ts";
import { TINY_GPT2, writeTinyModel } from "../helpers/tiny-decoder.ts";

const PROGRAM = fileURLToPath(new URL("./weightsmith.js", import.meta.url));
const program = (...args: string[]) => JSON.parse(execFileSync(process.execPath, [PROGRAM, ...args, "--json", "--quiet"], { encoding: "utf8" }));

describe("a LoRA on GPT-2", () => {
  it("folded into its base has the loss that training told, and says how the base lies in files", () => {
    const folder = temporaryFolder();
    const at = (name: string) => join(folder, name);
    writeTinyModel(at("model"), TINY_GPT2);
    writeFileSync(at("data.jsonl"), [..."abcdefgh"].map((a) => JSON.stringify({ prompt: a, completion: a })).join("\n"));
    const lora = "method: lora\nlora: { r: 2, alpha: 4, target_modules: [c_attn, c_proj, c_fc] }\noptimizer: { lr: 0.02 }\n";
    writeFileSync(at("train.yml"), `model: model\ndata: { train: data.jsonl, validation: data.jsonl }\n${lora}steps: 30\nbatch_size: 8\ndtype: float32\n`);
    const trained = program("train", at("train.yml"), at("adapter")) as { validationLoss: number };
    program("adapter", "fold", at("model"), at("adapter"), at("folded"));
    const loss = (model: string) => (program("eval", at(model), "--data", at("data.jsonl")) as { loss: number }).loss;
    assert.ok(Math.abs(loss("folded") - trained.validationLoss) < 1e-4, `${loss("folded")} and ${trained.validationLoss}`);
    assert.ok(trained.validationLoss < 0.7 * loss("model"), `${loss("model")} to ${trained.validationLoss}`);
    assert.equal(JSON.parse(readFileSync(at("adapter/adapter_config.json"), "utf8")).fan_in_fan_out, true);
  });
});
