import assert from "node:assert/strict";
import { parse } from "yaml";
import { candidateRecipes, GRID_POINTS } from "../../../merge-core/evaluate/search/candidates.ts";
import { rejectsWith } from "../../helpers/diagnostics.ts";

const RECIPE = `# kept
merge_method: ties
base_model: base
models:
  - model: base
  - model: a
    parameters: { weight: 1 }
  - model: b
dtype: bfloat16
`;

interface Shape {
  models: { model: string; parameters?: Record<string, number> }[];
  parameters?: Record<string, number>;
}

describe("candidate recipes", () => {
  const shapes = (...args: Parameters<typeof candidateRecipes>) =>
    candidateRecipes(...args).map(({ label, text }) => ({ label, recipe: parse(text) as Shape }));

  it("are all combinations, parameters in the place that the method has for them", () => {
    const choices = [
      { name: "density", values: [0.2, 0.5] },
      { name: "lambda", values: [1, 2, 3] },
    ];
    const found = shapes(RECIPE, "r.yml", undefined, choices);
    assert.equal(found.length, 6);
    assert.equal(found[4]?.label, "density 0.5, lambda 2");
    assert.deepEqual(found[4]?.recipe.models, [
      { model: "base" },
      { model: "a", parameters: { weight: 1, density: 0.5 } },
      { model: "b", parameters: { density: 0.5 } },
    ]);
    assert.deepEqual(found[4]?.recipe.parameters, { lambda: 2 });
    assert.match(candidateRecipes(RECIPE, "r.yml", undefined, [])[0]?.text ?? "", /# kept/);
  });

  it("take two models from one end to the other in 51 steps, as the released code of Fisher merging does", () => {
    const weights = shapes(RECIPE, "r.yml", { kind: "grid", points: GRID_POINTS }, []).map(({ recipe }) =>
      recipe.models.slice(1).map((m) => m.parameters?.weight ?? 0),
    );
    assert.equal(weights.length, 51);
    assert.deepEqual(
      [weights[0], weights[25], weights[50]],
      [
        [1, 0],
        [0.5, 0.5],
        [0, 1],
      ],
    );
  });

  it("draw weights evenly among those that sum to one", () => {
    const draw = (seed: number) =>
      shapes(RECIPE, "r.yml", { kind: "dirichlet", points: 1000, seed }, []).map(({ recipe }) => recipe.models.slice(1).map((m) => m.parameters?.weight ?? 0));
    const points = draw(1);
    for (const [a = 0, b = 0] of points) assert.ok(a >= 0 && b >= 0 && Math.abs(a + b - 1) < 1e-12);
    // With two models, Dirichlet(1, 1) is the uniform distribution: mean 1/2, variance 1/12.
    const mean = points.reduce((sum, [a = 0]) => sum + a, 0) / points.length;
    const variance = points.reduce((sum, [a = 0]) => sum + (a - mean) ** 2, 0) / points.length;
    assert.ok(Math.abs(mean - 0.5) < 0.03 && Math.abs(variance - 1 / 12) < 0.008, `${mean} ${variance}`);
    assert.deepEqual(draw(1), points);
    assert.notDeepEqual(draw(2)[0], points[0]);
  });

  it("are refused where the recipe has no place for them", async () => {
    const set = [{ name: "densty", values: [1] }];
    assert.match((await rejectsWith("search-parameter", () => candidateRecipes(RECIPE, "r.yml", undefined, set))).expected ?? "", /density/);
    await rejectsWith("search-grid", () => candidateRecipes(`${RECIPE}`.replace("base_model: base\n", ""), "r.yml", { kind: "grid", points: 51 }, []));
    await rejectsWith("search-recipe", () => candidateRecipes("merge_method: linear\nslices: []\n", "r.yml", undefined, []));
  });
});
