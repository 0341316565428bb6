import assert from "node:assert/strict";
import { makeExample, makeMixture, makeSplits, type SplitPlan, TASKS, type TaskExample, toJsonl } from "../../merge-core/evaluate/synthetic-tasks.ts";

const plan: SplitPlan = {
  seed: 7,
  measured: { words: { min: 5, max: 8 }, termLimit: 100 },
  trained: { words: { min: 3, max: 8 }, termLimit: 100 },
  sizes: { train: 2000, validation: 200, test: 200 },
};

/** Answers worked out from the prompt alone, by other means than the generator's. */
function answer(prompt: string): string {
  const [task = "", ...rest] = prompt.replace(/=$/, "").split(" ");
  const word = rest.at(-1) ?? "";
  if (task === "copy") return word;
  if (task === "add") {
    const [a = "", b = ""] = word.split("+");
    return (BigInt(a) + BigInt(b)).toString();
  }
  const codes = Array.from(word, (letter) => letter.charCodeAt(0) - 97);
  const text = (list: readonly number[]) => String.fromCharCode(...list.map((code) => code + 97));
  if (task === "sort") return text([...Int32Array.from(codes).sort()]);
  if (task === "reverse") return codes.reduce((sum, code) => text([code]) + sum, "");
  if (task === "shift") return text(codes.map((code) => (code + Number(rest[0])) & 15));
  throw new Error(`no task ${task}`);
}

const prompts = (examples: readonly TaskExample[]) => examples.map((example) => example.prompt);

describe("synthetic tasks", () => {
  for (const task of TASKS) {
    it(`${task}: splits have the sizes asked for and share no prompt`, () => {
      const { train, validation, test } = makeSplits(task, plan);
      assert.deepEqual([train.length, validation.length, test.length], [2000, 200, 200]);
      assert.equal(new Set([...prompts(train), ...prompts(validation), ...prompts(test)]).size, 2400);
    });

    it(`${task}: every answer is right`, () => {
      const { train, validation, test } = makeSplits(task, plan);
      for (const { prompt, completion } of [...train, ...validation, ...test]) assert.equal(completion, answer(prompt), prompt);
    });

    it(`${task}: a seed decides the examples, and the size of the train split does not change the test split`, () => {
      const { test } = makeSplits(task, plan);
      const smaller = makeSplits(task, { ...plan, sizes: { ...plan.sizes, train: 10 } });
      assert.deepEqual(smaller.test, test);
      assert.notDeepEqual(makeSplits(task, { ...plan, seed: 8 }).test, test);
    });
  }

  it("draws words of every length asked for and of no other", () => {
    const lengths = new Set(
      Array.from({ length: 200 }, (_, i) => makeExample("copy", { words: { min: 2, max: 5 }, termLimit: 1 }, 1, "lengths", i).completion.length),
    );
    assert.deepEqual([...lengths].sort(), [2, 3, 4, 5]);
  });

  it("keeps the terms of sums below the limit", () => {
    const terms = Array.from({ length: 200 }, (_, i) =>
      makeExample("add", { words: { min: 1, max: 1 }, termLimit: 7 }, 1, "terms", i).prompt.match(/\d+/g),
    ).flat();
    assert.deepEqual([...new Set(terms.map(Number))].sort(), [0, 1, 2, 3, 4, 5, 6]);
  });

  it("refuses to search for ever for prompts that do not exist", () => {
    assert.throws(() => makeSplits("add", { ...plan, sizes: { train: 20000, validation: 1, test: 1 } }), RangeError);
  });

  it("mixes tasks in their shares, leaves held-out prompts out and answers right", () => {
    const heldOut = new Set(prompts(makeSplits("add", plan).test));
    const difficulty = { words: { min: 1, max: 4 }, termLimit: 100 };
    const practices = [
      { task: "add", difficulty, share: 3 },
      { task: "copy", difficulty, share: 1 },
    ] as const;
    const mixture = makeMixture(practices, 3, 4000, heldOut);
    const adds = mixture.filter(({ prompt }) => prompt.startsWith("add "));
    assert.ok(Math.abs(adds.length / mixture.length - 0.75) < 0.03, `${adds.length} of ${mixture.length}`);
    assert.ok(adds.every(({ prompt }) => !heldOut.has(prompt)));
    for (const { prompt, completion } of mixture) assert.equal(completion, answer(prompt));
  });

  it("writes JSON lines", () => {
    assert.equal(toJsonl([{ prompt: "add 1+2=", completion: "3" }]), '{"prompt":"add 1+2=","completion":"3"}\n');
  });
});
