import assert from "node:assert/strict";
import type { ParameterSpec } from "../../merge-core/methods/method.ts";
import { evaluateParameter, layerPosition } from "../../merge-core/recipe/evaluate-parameter.ts";
import type { Condition, ParameterSetting } from "../../merge-core/recipe/recipe.ts";
import { isLegal, legalValues, resolveParameters } from "../../merge-core/recipe/resolve-parameters.ts";

const range = { line: 0, column: 0, endLine: 0, endColumn: 0, offset: 0, end: 0 };
const setting = (...conditions: readonly Condition[]): ParameterSetting => ({ conditions, range });
const values = (...numbers: readonly number[]) => setting({ filter: undefined, values: numbers });

describe("evaluateParameter", () => {
  it("gives a number everywhere", () => {
    assert.deepEqual(
      [0, 0.3, 1].map((t) => evaluateParameter(values(0.25), "x", t)),
      [0.25, 0.25, 0.25],
    );
  });

  it("interpolates a gradient, each value at its place", () => {
    assert.deepEqual(
      [0, 0.25, 0.5, 0.75, 1].map((t) => evaluateParameter(values(0, 1, 3), "x", t)),
      [0, 0.5, 1, 2, 3],
    );
  });

  it("follows the worked example: mlp falls from 1 to 0 over five layers, all else is 0.5", () => {
    const t = setting({ filter: "mlp", values: [1, 0] }, { filter: undefined, values: [0.5] });
    const at = (name: string, k: number) => evaluateParameter(t, name, layerPosition(k, 5));
    assert.deepEqual(
      [0, 1, 2, 3, 4].map((k) => at(`model.layers.${k}.mlp.up_proj.weight`, k)),
      [1, 0.75, 0.5, 0.25, 0],
    );
    assert.equal(at("model.embed_tokens.weight", 0), 0.5);
  });

  it("takes the first condition whose filter is a part of the name, case-sensitive, * for all", () => {
    const t = setting({ filter: "MLP", values: [1] }, { filter: "attn", values: [2] }, { filter: "*", values: [3] });
    assert.deepEqual(
      ["a.mlp.b", "a.self_attn.b"].map((name) => evaluateParameter(t, name, 0)),
      [3, 2],
    );
    assert.equal(evaluateParameter(setting({ filter: "attn", values: [2] }), "mlp", 0), undefined);
  });

  it("puts a single layer at the end", () => {
    assert.deepEqual([layerPosition(0, 1), layerPosition(0, 3), layerPosition(2, 3)], [1, 0, 1]);
  });
});

describe("resolveParameters", () => {
  const weight: ParameterSpec = { name: "weight", scope: "model", type: "number", doc: "" };
  const density: ParameterSpec = { name: "density", scope: "model", type: "number", default: 1, range: { min: 0, max: 1, minOpen: true }, doc: "" };
  const levels = [new Map([["weight", setting({ filter: "attn", values: [2] })]]), new Map([["weight", values(3)]])];

  it("goes to the next level where no condition fits, then to the default", () => {
    assert.deepEqual(resolveParameters([weight, density], levels, "attn", 0), { values: { weight: 2, density: 1 }, problems: [] });
    assert.deepEqual(resolveParameters([weight], levels, "mlp", 0).values, { weight: 3 });
  });

  it("reports what is missing, unless it may be", () => {
    assert.deepEqual(resolveParameters([weight], [], "x", 0).problems, [{ spec: weight, value: undefined }]);
    assert.deepEqual(resolveParameters([weight], [], "x", 0, true), { values: {}, problems: [] });
  });

  it("reports values that leave the range only between layers", () => {
    const count: ParameterSpec = { name: "n", scope: "global", type: "integer", default: 0, doc: "" };
    const level = new Map([["n", values(0, 1)]]);
    assert.deepEqual(resolveParameters([count], [level], "x", 0.5).problems, [{ spec: count, value: 0.5 }]);
    assert.deepEqual(resolveParameters([count], [level], "x", 1).values, { n: 1 });
  });

  it("holds a flag until the place of its next value, as it is nothing between on and off", () => {
    const flag: ParameterSpec = { name: "f", scope: "global", type: "flag", default: 0, doc: "" };
    const at = (flags: readonly number[], place: number) => resolveParameters([flag], [new Map([["f", values(...flags)]])], "x", place);
    assert.deepEqual(
      [0, 0.33, 0.67, 1].map((place) => at([0, 1], place).values.f),
      [0, 0, 0, 1],
    );
    assert.deepEqual(
      [0, 0.33, 0.5, 0.99, 1].map((place) => at([1, 0, 1], place).values.f),
      [1, 1, 0, 0, 1],
    );
  });

  it("says which values are legal", () => {
    assert.deepEqual([legalValues(weight), legalValues(density), isLegal(density, 0), isLegal(density, 1)], ["a number", "a number in (0, 1]", false, true]);
  });
});
