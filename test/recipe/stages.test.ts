// Damaged files of several recipes: always diagnostics within the file, never an exception.
import assert from "node:assert/strict";
import { parseStages } from "../../merge-core/recipe/stages.ts";

const TEXT =
  "name: x\nmerge_method: linear\nmodels: [{model: a}]\n---\n# between\nmerge_method: ties\nbase_model: x\nmodels:\n  - model: b\n---\nname: y\n...\n";
const PIECES = [
  "---\n",
  "\n---",
  "...",
  "%YAML 1.1\n",
  "name: ",
  "name: [",
  "&a ",
  "*a",
  "{",
  "}",
  "\t",
  "\u2028",
  '"',
  "'",
  "|\n ---\n",
  "? ",
  "- ",
  "\r\n",
  "\0",
];

/** Numbers below `limit`, the same on every run. */
function generator(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

describe("damaged files of several recipes", () => {
  it("1000 mutations give diagnostics that lie in the file", () => {
    const random = generator(5);
    let good = 0;
    for (let i = 0; i < 1000; i++) {
      let text = TEXT;
      for (let k = random(4); k >= 0; k--) {
        const at = random(text.length);
        text = text.slice(0, at) + (PIECES[random(PIECES.length)] ?? "") + text.slice(at + random(4));
      }
      const { stages, diagnostics } = parseStages(text, "recipe.yml");
      assert.ok(stages !== undefined || diagnostics.some(({ severity }) => severity === "error"), JSON.stringify(text));
      for (const { range } of diagnostics) if (range !== undefined) assert.ok(range.offset >= 0 && range.end <= text.length, JSON.stringify(text));
      if (stages !== undefined) good++;
    }
    assert.ok(good < 1000);
  });
});
