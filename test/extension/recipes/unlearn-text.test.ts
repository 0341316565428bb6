import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { unlearnText } from "../../../extension/recipes/unlearn-text.ts";
import { readUnlearnConfig } from "../../../merge-core/unlearn/config.ts";
import { temporaryFolder } from "../../helpers/folders.ts";

describe("a new unlearning configuration", () => {
  it("is read by the command line as it was chosen", async () => {
    const file = join(temporaryFolder(), "a.yml");
    writeFileSync(file, unlearnText({ method: "negate", model: "./a, b", expert: "./#c", forget: ["./x y.jsonl", "./[z].jsonl"], retain: ["./r.jsonl"] }));
    const { method, model, expert, forget, retain, floor, place } = await readUnlearnConfig(file);
    assert.deepEqual([method, model, expert, floor], ["negate", place.resolve("./a, b"), place.resolve("./#c"), 0.95]);
    assert.deepEqual(forget.train, ["./x y.jsonl", "./[z].jsonl"].map(place.resolve));
    assert.deepEqual(retain.test, [place.resolve("./r.jsonl")]);
  });
});
