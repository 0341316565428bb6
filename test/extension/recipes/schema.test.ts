import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { parseRecipe } from "../../../merge-core/recipe/parse-recipe.ts";
import { recipeJsonSchema } from "../../../merge-core/recipe/schema.ts";

describe("contributed recipe files", () => {
  it("hold the schema of this version's methods; after a change run npm run schema", () => {
    assert.deepEqual(JSON.parse(readFileSync("media/recipe.schema.json", "utf8")), JSON.parse(JSON.stringify(recipeJsonSchema())));
  });

  const snippets = JSON.parse(readFileSync("media/recipe.code-snippets", "utf8")) as Record<string, { body: string[] }>;
  for (const [name, { body }] of Object.entries(snippets))
    it(`hold a snippet without problems: ${name}`, () => {
      const text = body
        .join("\n")
        .replace(/\$\{\d+:([^}]*)\}/g, "$1")
        .replace(/\$1/g, "./model-a")
        .replace(/\$\d/g, "");
      assert.deepEqual(parseRecipe(text, "snippet").diagnostics, [], text);
    });
});
