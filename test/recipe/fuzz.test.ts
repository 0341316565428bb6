// Ten thousand damaged recipes: whatever the text, the parser ends soon with a recipe or with a diagnostic that has a place.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { formatDiagnostic } from "../../merge-core/diagnostics.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";

const RECIPES = "test/fixtures/oracles/mergekit/recipes";
const MUTATIONS = 10_000;
/** A machine under load stops for a while now and then; a hang lasts longer. */
const LONGEST_MS = 5000;

/** What no stored recipe has: the extensions, and YAML that few people write. */
const MORE = [
  `merge_method: ties
base_model: {model: {path: base, revision: main}, lora: {path: l}}
models: [{model: "a+l@x", parameters: {weight: [{filter: "glob:*.{up,down}.*", exclude: ["re:^lm_(head|x)$", b], value: [0, .5, 1e0]}, {regex: "\\\\d+", value: yes}]}}, {model: b}]
parameters: &p {weight: 1, density: 0.5, normalize: off}
overrides:
  - {glob: "*embed*", merge_method: passthrough, models: [b]}
  - filter: mlp
    merge_method: slerp
    parameters: {t: 0.5}
    models: [b]
dtype: torch.bfloat16
tensor_names: union
chat_template: chatml
`,
  `merge_method: linear
x: &m
  <<: {a: 1}
models:
  - &a {model: a, parameters: {weight: 1}}
  - *a
tokenizer:
  source: union
  pad_to_multiple_of: 8
  tokens:
    "<|x|>": {source: {kind: model_token, model: a, token_id: 3}, force: true}
    b: {source: {kind: zero}}
    c:
`,
];
const PIECES = [
  "{",
  "}",
  "[",
  "]",
  ":",
  ": ",
  "- ",
  "\n",
  "  ",
  "&a ",
  "*a",
  "<<: ",
  "!!x ",
  '"',
  "'",
  "\t",
  "#",
  "|\n",
  "?",
  "\u0000",
  "\r",
  "---\n",
  "\ud800",
  ",",
  "%",
  "@",
  "+",
];
const VALUES = [
  "1",
  "-1",
  "0",
  ".nan",
  "1e999",
  "0.5",
  "true",
  "null",
  "~",
  "''",
  "[]",
  "{}",
  "a",
  "*a",
  "[[1]]",
  "{a: 1}",
  "9007199254740993",
  "0x1F",
  "2001-01-01",
  "re:(",
  "glob:{",
  "__proto__",
];

/** A linear congruential generator, so that a failure can be seen again. */
function generator(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return Math.floor((state / 0x80000000) * n);
  };
}

type Mutation = (text: string, random: (n: number) => number, pick: <T>(list: readonly T[]) => T) => string;

const MUTATORS: readonly Mutation[] = [
  // Letters here and there.
  (text, random, pick) => {
    const at = random(text.length + 1);
    return text.slice(0, at) + pick(PIECES) + text.slice(at + random(4));
  },
  // Another value behind a key.
  (text, random, pick) => {
    const colons = [...text.matchAll(/: +[^\n,}\]]*/g)];
    const at = colons[random(colons.length)];
    return at === undefined ? text : `${text.slice(0, at.index)}: ${pick(VALUES)}${text.slice(at.index + at[0].length)}`;
  },
  // Lines lost, doubled, moved in or out.
  (text, random) => {
    const lines = text.split("\n");
    const at = random(lines.length);
    const line = lines[at] ?? "";
    const instead = [[], [line, line], [`  ${line}`], [line.slice(1)], [line, ...lines.slice(0, 3)]][random(5)] ?? [];
    return lines.toSpliced(at, 1, ...instead).join("\n");
  },
  // Cut off.
  (text, random) => text.slice(0, random(text.length)),
  // A letter of a word changed, as a slip of the finger would.
  (text, random) => {
    const at = random(text.length);
    return text.slice(0, at) + String.fromCharCode(32 + random(95)) + text.slice(at + 1);
  },
];

describe("damaged recipes", () => {
  it(`end in a recipe or in diagnostics with places, ${MUTATIONS} seeded times`, () => {
    const seeds = [...readdirSync(RECIPES).map((file) => readFileSync(`${RECIPES}/${file}`, "utf8")), ...MORE];
    for (const text of seeds)
      assert.deepEqual(
        parseRecipe(text, "r.yml").diagnostics.filter(({ severity, code }) => severity === "error" && code !== "unknown-key"),
        [],
      );
    const random = generator(20240229);
    const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T;
    const outcomes = { good: 0, bad: 0 };
    for (let i = 0; i < MUTATIONS; i++) {
      let text = pick(seeds);
      for (let edits = 1 + random(3); edits > 0; edits--) text = pick(MUTATORS)(text, random, pick);
      outcomes[check(text)]++;
    }
    // Neither all refused nor all let through: the mutations do reach what lies behind the YAML.
    assert.ok(outcomes.good > MUTATIONS / 20 && outcomes.bad > MUTATIONS / 2, JSON.stringify(outcomes));
  });
});

function check(text: string): "good" | "bad" {
  const started = performance.now();
  const { recipe, diagnostics } = parseRecipe(text, "r.yml");
  assert.ok(performance.now() - started < LONGEST_MS, text);
  assert.ok(recipe !== undefined || diagnostics.some(({ severity }) => severity === "error"), text);
  for (const diagnostic of diagnostics) {
    const { code, range } = diagnostic;
    assert.ok(range !== undefined && range.offset >= 0 && range.offset <= range.end && range.end <= text.length, `${code} ${JSON.stringify(range)}: ${text}`);
    assert.doesNotMatch(formatDiagnostic(diagnostic), /\n\s+at |undefined|\[object/, text);
  }
  return recipe === undefined ? "bad" : "good";
}
