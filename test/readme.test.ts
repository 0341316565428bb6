// The README's tables are checked against the program they describe.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { families } from "../merge-core/adapters/registry.ts";
import { commandNames } from "../merge-core/cli/commands.ts";
import { methods } from "../merge-core/methods/registry.ts";
import { ENTRIES } from "../scripts/zoo/families.ts";

const readme = readFileSync("README.md", "utf8");
const manifest = JSON.parse(readFileSync("package.json", "utf8"));

describe("README", () => {
  it("has a row for every merge method, with its parameters", () => {
    for (const method of methods) {
      const row = readme.split("\n").find((line) => line.startsWith(`| \`${method.id}\` |`));
      assert.ok(row !== undefined, `no row for ${method.id}`);
      for (const parameter of method.parameters) assert.ok(row.includes(parameter.name), `${method.id} lacks ${parameter.name}`);
    }
  });

  it("has a measured row for every adapter family that can be trained", () => {
    const trainable = families.filter(({ training }) => training !== undefined).map(({ type }) => type);
    assert.deepEqual(
      trainable.filter((type) => !ENTRIES.some((entry) => entry.type === type)),
      [],
    );
    for (const { name } of ENTRIES)
      assert.match(readme, new RegExp(`^\\| ${name.replace("+", "\\+")} \\| [\\d,]+ \\| [\\d,]+ \\| \\d\\.\\d{3} \\|`, "m"), name);
  });

  it("names every command", () => {
    for (const name of commandNames) assert.ok(readme.includes(`weightsmith ${name}`), `no mention of weightsmith ${name}`);
  });

  it("gives a reason for every run-time dependency", () => {
    const groups = Object.keys(manifest.dependencies).map((name) => (name.startsWith("d3-") ? "d3" : name));
    for (const name of new Set(groups))
      assert.ok(
        readme.split("\n").some((line) => line.startsWith("|") && line.includes(`\`${name}`)),
        `no row for ${name}`,
      );
  });
});
