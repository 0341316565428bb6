import assert from "node:assert/strict";
import { planRecipe } from "../../merge-core/evaluate/evaluators.ts";
import { canonical, planHash } from "../../merge-core/plan/plan-hash.ts";

/** The definition: JSON whose objects have their keys in order. */
const byDefinition = (value: unknown): string =>
  JSON.stringify(value, (_, v: unknown) =>
    v !== null && typeof v === "object" && !Array.isArray(v) ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1))) : v,
  );

describe("the hash of a plan", () => {
  it("is of JSON with sorted keys", () => {
    const odd = { é: '"\\\n\u2028', Z: -0, a: [undefined, null, Number.NaN, { y: 1, x: [[]] }], u: undefined, "10": true, "9": {}, "09": 1e21, "": "x" };
    assert.equal(canonical(odd), byDefinition(odd));
    assert.notEqual(canonical({ a: "1" }), canonical({ a: 1 }));
  });

  it("stands in the plan, and in copies of it", async () => {
    const recipe = (weight: number) =>
      JSON.stringify({ merge_method: "linear", models: ["base", "add"].map((name) => ({ model: `media/zoo/${name}`, parameters: { weight } })) });
    const plan = await planRecipe({ text: recipe(1), file: "hash.yml" });
    assert.equal(plan.planHash, planHash(plan));
    for (const copy of [{ ...plan }, structuredClone(plan), JSON.parse(JSON.stringify(plan))]) assert.equal(copy.planHash, plan.planHash);
    assert.notEqual((await planRecipe({ text: recipe(2), file: "hash.yml" })).planHash, plan.planHash);
  });
});
