// Recipes that change the vocabulary, from text to output: which rows go where, what is told, what the files say.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { formatDiagnostic } from "../../merge-core/diagnostics.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { tokenizerFiles } from "../helpers/tokenizers.ts";
import { readTensors, valuesOf } from "../oracles/read-tensors.ts";

interface Layout {
  readonly tokens?: readonly string[];
  readonly special?: readonly string[];
  readonly rows?: number;
  /** The first number of each row's pair; rows count up from it. */
  readonly from: number;
  readonly dtype?: "F32" | "BF16";
  readonly template?: string;
  readonly files?: Record<string, string>;
  readonly config?: Record<string, unknown>;
}

class Workshop {
  readonly folder = temporaryFolder();

  /** A model of an embedding whose row k is [from + k, -(from + k)], and a norm. */
  add(name: string, { tokens, special = [], rows, from, dtype = "F32", template, files = {}, config = {} }: Layout): this {
    const count = rows ?? (tokens?.length ?? 0) + special.length;
    const values = Array.from({ length: count }, (_, k) => [from + k, -(from + k)]).flat();
    const tensors = [floatTensor("model.embed_tokens.weight", [count, 2], values, dtype), floatTensor("model.norm.weight", [2], [1, 1], dtype)];
    const tokenizer = tokens === undefined ? {} : tokenizerFiles({ tokens, special, decoder: true, ...(template === undefined ? {} : { template }) });
    writeModel(tensors, {
      folder: join(this.folder, name),
      config: { vocab_size: count, tie_word_embeddings: true, ...config },
      files: { ...tokenizer, ...files },
    });
    return this;
  }

  async plan(text: string) {
    const file = join(this.folder, "recipe.yml");
    const { recipe, diagnostics } = parseRecipe(text, file);
    assert.ok(recipe, diagnostics.map(formatDiagnostic).join("\n"));
    return planMerge(recipe, modelOpener(file));
  }

  async merge(text: string) {
    const { plan, diagnostics } = await this.plan(text);
    assert.ok(plan, diagnostics.map(formatDiagnostic).join("\n"));
    const out = join(temporaryFolder(), "out");
    await runMerge(plan, { out, threads: 1 });
    const embedding = valuesOf((await readTensors(join(out, "model.safetensors"))).get("model.embed_tokens.weight"));
    const json = (name: string) => JSON.parse(readFileSync(join(out, name), "utf8"));
    const told = plan.findings.map(({ code, severity, message, found }) => `${severity} ${code}: ${message}: ${found}`);
    // Both numbers of a row say the same.
    for (let k = 0; k < embedding.length; k += 2) assert.equal((embedding[k] ?? 0) + (embedding[k + 1] ?? 0), 0);
    return { out, rows: [...embedding].filter((_, i) => i % 2 === 0), json, told, config: json("config.json") };
  }

  async codes(text: string): Promise<string[]> {
    return (await this.plan(text)).diagnostics.map(
      ({ code, severity, range }) => `${severity} ${code} ${(range?.line ?? -1) + 1}:${(range?.column ?? -1) + 1}`,
    );
  }
}

const LINEAR = "merge_method: linear\nbase_model: a\nparameters: {weight: 1}\nmodels:\n  - model: a\n  - model: b\n";
const two = () => new Workshop().add("a", { tokens: ["x", "y", "z"], from: 10 }).add("b", { tokens: ["z", "x", "w"], special: ["<s>"], from: 20 });

describe("Vocabulary of the output", () => {
  it("is the base's: rows follow their tokens, and what a model lacks it borrows from the only other", async () => {
    const { rows, config, told, json } = await two().merge(`${LINEAR}tokenizer_source: base\n`);
    // x: (10 + 21) / 2, y: b borrows 11, z: (12 + 20) / 2
    assert.deepEqual(rows, [15.5, 11, 16]);
    assert.equal(config.vocab_size, 3);
    assert.deepEqual(told, [
      'info tokens-moved: 2 tokens of b moved to other rows: "x", "z"',
      'warning tokens-dropped: 2 tokens of b dropped, since the output\'s vocabulary lacks them: "w", "<s>"',
    ]);
    assert.deepEqual(json("tokenizer.json").added_tokens, []);
  });

  it("is the union: foreign tokens come behind the base's, in the files as in the rows", async () => {
    const { rows, config, told, json } = await two().merge(`${LINEAR}tokenizer: {source: union}\n`);
    assert.deepEqual(rows, [15.5, 11, 16, 22, 23]);
    assert.equal(config.vocab_size, 5);
    assert.equal(told[0], 'info tokens-added: 2 tokens added behind those of a: "w", "<s>"');
    const added = json("tokenizer.json").added_tokens.map(({ id, content, special }: Record<string, unknown>) => [id, content, special]);
    assert.deepEqual(added, [
      [3, "w", false],
      [4, "<s>", true],
    ]);
    assert.deepEqual(Object.keys(json("tokenizer_config.json").added_tokens_decoder), ["3", "4"]);
  });

  it("is another model's, whose files are taken and whose numbers the config gets", async () => {
    const shop = two().add("c", { tokens: ["w", "x", "y"], from: 30, config: {}, files: { "generation_config.json": '{"eos_token_id": 2}' } });
    shop.add("a", {
      tokens: ["x", "y", "z"],
      from: 10,
      config: { eos_token_id: 1, bos_token_id: [0, 1] },
      files: { "generation_config.json": '{"eos_token_id": 1}' },
    });
    const { rows, config, json } = await shop.merge(`${LINEAR.replace("model: b", "model: c")}tokenizer_source: c\n`);
    assert.deepEqual(rows, [30, 20.5, 21.5]);
    assert.deepEqual([config.eos_token_id, config.bos_token_id], [2, [1, 2]]);
    assert.deepEqual(json("generation_config.json"), { eos_token_id: 2 });
    assert.deepEqual(Object.keys(json("tokenizer.json").model.vocab), ["w", "x", "y"]);
  });

  it("gives a token of several models but not the base their mean, and tells so", async () => {
    const shop = two().add("c", { tokens: ["w", "x", "y", "z"], from: 30 });
    const { rows, told } = await shop.merge(`${LINEAR}  - model: c\ntokenizer_source: union\n`);
    // w is 22 in b and 30 in c, so a has 26 there: the mean of all three is 26.
    assert.equal(rows[3], 26);
    assert.ok(told.includes('info rows-averaged: 1 token that the base lacks got the mean of the rows of the models that have it: "w"'), told.join("\n"));
  });

  it("keeps padded rows where nothing is said, and pads with the mean where a multiple is asked for", async () => {
    const shop = new Workshop().add("a", { tokens: ["x", "y"], rows: 5, from: 10 }).add("b", { tokens: ["y", "x"], rows: 4, from: 20 });
    const kept = await shop.merge(`${LINEAR}tokenizer_source: base\n`);
    // Padding rows have no tokens: row by row, and where b ends a's alone.
    assert.deepEqual(kept.rows, [15.5, 15.5, 17, 18, 14]);
    assert.equal(kept.config.vocab_size, 5);
    const padded = await shop.merge(`${LINEAR}tokenizer: {source: base, pad_to_multiple_of: 4}\n`);
    assert.deepEqual(padded.rows, [15.5, 15.5, 15.5, 15.5]);
  });

  it("adds no tokens to a union that no model has a row for", async () => {
    const tokens = (...more: string[]) => ["x", "y", ...more];
    const shop = new Workshop().add("a", { tokens: tokens(), from: 10 }).add("b", { tokens: tokens("v", "w"), rows: 3, from: 20 });
    const { rows, told } = await shop.merge(`${LINEAR}tokenizer_source: union\n`);
    assert.deepEqual(rows, [15, 16, 22]);
    assert.ok(told.includes('warning tokens-dropped: 1 token of b dropped, since the output\'s vocabulary lacks them: "w"'), told.join("\n"));
  });

  it("tolerates tokens beyond the end of an embedding, and lists them", async () => {
    const shop = new Workshop().add("a", { tokens: ["x", "y", "z"], rows: 2, from: 10 }).add("b", { tokens: ["x", "y", "z"], rows: 3, from: 20 });
    const { rows, told, config } = await shop.merge(`${LINEAR}tokenizer_source: base\n`);
    assert.deepEqual(rows, [15, 16, 22]);
    assert.equal(config.vocab_size, 3);
    assert.ok(told.includes('warning token-out-of-range: 1 token of a beyond the end of its embedding, taken as absent: "z"'), told.join("\n"));
    const none = new Workshop().add("a", { tokens: ["x", "y"], rows: 1, from: 10 }).add("b", { tokens: ["x", "y"], rows: 1, from: 20 });
    const zero = await none.merge(`${LINEAR}tokenizer_source: base\n`);
    assert.deepEqual(zero.rows, [15, 0]);
    assert.ok(zero.told.includes('warning rows-zero: 1 token got rows of zeros in models that lack it: "y"'), zero.told.join("\n"));
  });

  it("takes single rows from where the recipe says, for models that lack the token or for all", async () => {
    const tokens = `tokens: {w: {source: {kind: zero}}, y: {source: b, force: true}}`;
    const shop = new Workshop().add("a", { tokens: ["x", "y", "z"], from: 10 }).add("b", { tokens: ["y", "x", "w"], from: 20 });
    const { rows } = await shop.merge(`${LINEAR}tokenizer: {source: union, ${tokens}}\n`);
    assert.deepEqual(rows, [15.5, 20, 12, 11]);
    const named = await shop.merge(
      `${LINEAR}tokenizer: {source: base, tokens: {new: {source: {kind: model_token, model: b, token: w}}, z: {source: {kind: model_token, model: b, token_id: 0}}}}\n`,
    );
    // b lacks z, so its part is row 0 of b; nobody has `new`, so both parts are w of b.
    assert.deepEqual(named.rows, [15.5, 15.5, 16, 22]);
  });

  it("mixes dtypes: a bfloat16 model borrows rows of a float32 one without rounding them", async () => {
    const shop = new Workshop().add("a", { tokens: ["x", "y"], from: 1 + 2 ** -12 }).add("b", { tokens: ["x"], from: 8, dtype: "BF16" });
    const { rows } = await shop.merge(`${LINEAR}tokenizer_source: base\n`);
    assert.deepEqual(rows, [(9 + 2 ** -12) / 2, 2 + 2 ** -12]);
  });

  it("needs tokenizer.json of the donor and of a model that is named, not of the others", async () => {
    const shop = new Workshop().add("a", { tokens: ["x"], from: 1 }).add("b", { rows: 1, from: 2 });
    assert.deepEqual(await shop.codes(`${LINEAR}tokenizer_source: union\n`), ["warning tokenizer-assumed 7:1"]);
    assert.deepEqual(await shop.codes(`${LINEAR}tokenizer_source: b\n`), ["error tokenizer-missing 7:1"]);
    shop.add("b", { rows: 1, from: 2, files: { "tokenizer.json": '{"model": {"vocab": {"x": "one"}}}' } });
    assert.deepEqual(await shop.codes(`${LINEAR}tokenizer_source: union\n`), ["error tokenizer-invalid 7:1"]);
  });

  it("refuses rows that are nowhere, at the token that asks for them", async () => {
    const codes = (tokens: string) => two().codes(`${LINEAR}tokenizer:\n  tokens:\n    ${tokens}\n`);
    assert.deepEqual(await codes("q: {source: a}"), ["error token-missing 9:5"]);
    assert.deepEqual(await codes("q: {source: {kind: model_token, model: a, token_id: 3}}"), ["error token-missing 9:5"]);
    assert.deepEqual(await codes("q: {source: c}"), ["error token-missing 9:5"]);
  });

  it("refuses to add tokens behind numbers that are left out, where loaders would number them otherwise", async () => {
    const vocab = { "tokenizer.json": '{"model": {"vocab": {"x": 0, "y": 7}}}' };
    const shop = new Workshop().add("a", { rows: 8, from: 1, files: vocab }).add("b", { tokens: ["x", "w"], from: 2 });
    assert.deepEqual(await shop.codes(`${LINEAR}tokenizer_source: union\n`), ["error tokenizer-holes 7:1"]);
    assert.deepEqual(
      (await shop.codes(`${LINEAR}tokenizer_source: base\n`)).filter((line) => line.startsWith("error")),
      [],
    );
  });

  it("leaves out other forms of the vocabulary once tokens are added, and says so", async () => {
    const shop = two().add("a", { tokens: ["x", "y", "z"], from: 10, files: { "vocab.json": "{}", "tokenizer.model": "binary" } });
    const union = await shop.merge(`${LINEAR}tokenizer_source: union\n`);
    assert.deepEqual(
      ["vocab.json", "tokenizer.model", "tokenizer.json"].map((name) => existsSync(join(union.out, name))),
      [false, false, true],
    );
    assert.ok(union.told.some((line) => line.startsWith("info tokenizer-files-dropped") && line.endsWith("tokenizer.model, vocab.json")));
    const base = await shop.merge(`${LINEAR}tokenizer_source: base\n`);
    assert.ok(existsSync(join(base.out, "vocab.json")));
  });
});

describe("Chat template", () => {
  const withTemplates = (...templates: (string | undefined)[]) => {
    const shop = new Workshop();
    for (const [i, template] of templates.entries()) shop.add("abc"[i] ?? "", { tokens: ["x"], from: i, ...(template === undefined ? {} : { template }) });
    return shop;
  };
  const THREE = `${LINEAR}  - model: c\n`;

  it("auto is the most frequent one, whatever space is around it", async () => {
    const { out, json, told } = await withTemplates("{{ one }}", "{{ two }}", " {{ two }}\n").merge(`${THREE}chat_template: auto\n`);
    assert.equal(readFileSync(join(out, "chat_template.jinja"), "utf8"), "{{ two }}");
    assert.equal(json("tokenizer_config.json").chat_template, "{{ two }}");
    assert.deepEqual(told, ["info chat-template-chosen: the chat template is that of b, c: 2 different templates in 3 models"]);
  });

  it("may be named or written out", async () => {
    const shop = withTemplates("{{ one }}", undefined, undefined);
    assert.match((await shop.merge(`${THREE}chat_template: chatml\n`)).json("tokenizer_config.json").chat_template, /<\|im_start\|>/);
    const jinja = "{% for m in messages %}{{ m }}{% endfor %}";
    assert.equal((await shop.merge(`${THREE}chat_template: "${jinja}"\n`)).json("tokenizer_config.json").chat_template, jinja);
  });

  it("is refused where it is neither, and passed over where there is none", async () => {
    const shop = withTemplates(undefined, undefined, undefined);
    assert.deepEqual(await shop.codes(`${THREE}chat_template: chatlm\n`), ["error chat-template 8:16"]);
    assert.deepEqual(await shop.codes(`${THREE}chat_template: auto\n`), ["warning chat-template-none 8:16"]);
  });
});
