// Models with another model's tokenizer, against what mergekit-tokensurgeon made of them (tokens_goldens.py).
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { makeTransplant } from "../../merge-core/transplant/make-transplant.ts";
import type { TransplantSettings } from "../../merge-core/transplant/settings.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { readTensors, valuesOf } from "./read-tensors.ts";

const FOLDER = "test/fixtures/oracles/tokens";
/** mergekit's flags and the settings they stand for. */
const FLAGS: Readonly<Record<string, (value: string) => Partial<TransplantSettings>>> = {
  "-k": (value) => ({ k: Number(value) }),
  "-a": (value) => ({ method: value as TransplantSettings["method"] }),
  "-w": (value) => ({ weights: value as TransplantSettings["weights"] }),
  "-s": (value) => ({ subword: value as TransplantSettings["subword"] }),
  "-pm": (value) => ({ prefixMatch: value as TransplantSettings["prefixMatch"] }),
  "-bm": (value) => ({ byteMatch: value as TransplantSettings["byteMatch"] }),
};

describe("Tokenizers transplanted by mergekit-tokensurgeon", () => {
  const names = readdirSync(`${FOLDER}/golden`);

  it("are all here", () => assert.equal(names.length, 13));

  for (const name of names) {
    it(`${name}: same rows and config`, async () => {
      const [model = "", ...flags] = JSON.parse(readFileSync(`${FOLDER}/golden/${name}/flags.json`, "utf8")) as string[];
      let settings: Partial<TransplantSettings> = flags.includes("-c") ? { cosine: true } : {};
      for (const [i, flag] of flags.entries()) settings = { ...settings, ...FLAGS[flag]?.(flags[i + 1] ?? "") };
      const folder = temporaryFolder();
      const out = join(folder, "out");
      const request = { model: `${FOLDER}/models/${model}`, donor: `${FOLDER}/models/donor`, settings, open: modelOpener("tokens") };
      await makeTransplant({ ...request, memoryBytes: 2 ** 30, scratch: join(folder, "rows"), threads: 1 }, { out, threads: 1 });
      const [ours, theirs] = [await readTensors(join(out, "model.safetensors")), await readTensors(`${FOLDER}/golden/${name}/model.safetensors`)];
      for (const [tensor, expected] of theirs) {
        const [a, b] = [valuesOf(ours.get(tensor)), valuesOf(expected)];
        assert.deepEqual(ours.get(tensor)?.shape, expected.shape);
        const scale = b.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
        const worst = b.reduce((most, x, i) => Math.max(most, Math.abs(x - (a[i] ?? Number.NaN))), 0);
        assert.ok(worst <= 2e-5 * scale, `${tensor}: ${worst} of ${scale}`);
      }
      const [config, golden] = [join(out, "config.json"), `${FOLDER}/golden/${name}/config.json`].map((file) => JSON.parse(readFileSync(file, "utf8")));
      for (const key of ["vocab_size", "bos_token_id", "eos_token_id", "hidden_size", "model_type"]) assert.deepEqual(config[key], golden[key], key);
      const same = readFileSync(join(out, "tokenizer.json"), "utf8") === readFileSync(`${FOLDER}/models/donor/tokenizer.json`, "utf8");
      assert.ok(same, "the tokenizer is the donor's");
    });
  }
});
