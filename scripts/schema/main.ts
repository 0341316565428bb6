// Writes media/recipe.schema.json from the registry of methods. `npm run schema`.
import { writeFileSync } from "node:fs";
import { recipeJsonSchema } from "../../merge-core/recipe/schema.ts";

writeFileSync("media/recipe.schema.json", `${JSON.stringify(recipeJsonSchema(), null, 2)}\n`);
