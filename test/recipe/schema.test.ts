import assert from "node:assert/strict";
import { methods } from "../../merge-core/methods/registry.ts";
import { recipeJsonSchema } from "../../merge-core/recipe/schema.ts";

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

const schema = JSON.parse(JSON.stringify(recipeJsonSchema())) as { readonly [key: string]: Json };
const at = (...path: readonly string[]): Json | undefined => path.reduce<Json | undefined>((value, key) => (isObject(value) ? value[key] : undefined), schema);
const isObject = (value: Json | undefined): value is { readonly [key: string]: Json } => typeof value === "object" && value !== null && !Array.isArray(value);

describe("recipeJsonSchema", () => {
  it("offers every method with what it does", () => {
    const offered = at("properties", "merge_method", "oneOf") as readonly { const: string; description: string }[];
    assert.deepEqual(
      offered.map((o) => [o.const, o.description]),
      methods.map((m) => [m.id, `${m.summary}\n\n${m.formula}`]),
    );
  });

  it("offers every parameter, with its meaning for each method that takes it", () => {
    for (const { id, parameters } of methods)
      for (const { name, doc } of parameters) {
        const text = String(at("definitions", "parameters", "properties", name, "description"));
        const paragraph = text.split("\n\n").find((p) => p.split(": ")[0]?.split(", ").includes(id));
        assert.ok(paragraph?.includes(doc), `${id} ${name}: ${text}`);
      }
  });

  it("tells the default and the range", () => {
    assert.match(String(at("definitions", "parameters", "properties", "density", "description")), /\(a number in \[0, 1\], default 1\)/);
  });

  it("has every definition that it refers to", () => {
    for (const [, name] of JSON.stringify(schema).matchAll(/"#\/definitions\/(\w+)"/g)) assert.ok(at("definitions", name as string), name);
  });

  it("knows the recipe's keys and no others", () => {
    assert.equal(at("additionalProperties"), false);
    for (const key of ["models", "slices", "modules", "base_model", "dtype", "out_dtype", "tensor_names", "tokenizer", "tokenizer_source", "chat_template"])
      assert.ok(at("properties", key), key);
  });
});
