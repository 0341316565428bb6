// What package.json promises and what the code does, compared both ways.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

interface Manifest {
  readonly engines: { readonly vscode: string };
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly icon: string;
  readonly contributes: {
    readonly commands: readonly { readonly command: string }[];
    readonly menus: Readonly<Record<string, readonly { readonly command: string }[]>>;
    readonly views: { readonly weightsmith: readonly { readonly id: string }[] };
    readonly customEditors: readonly { readonly viewType: string }[];
    readonly yamlValidation: readonly { readonly url: string }[];
    readonly snippets: readonly { readonly path: string }[];
    readonly configuration: { readonly properties: Readonly<Record<string, { readonly default?: unknown; readonly markdownDescription?: string }>> };
  };
}

const text = readFileSync("package.json", "utf8");
const manifest = JSON.parse(text) as Manifest;
const { contributes } = manifest;
const strings = JSON.parse(readFileSync("package.nls.json", "utf8")) as Record<string, string>;
const source = readdirSync("extension", { recursive: true })
  .map((file) => join("extension", String(file)))
  .filter((file) => file.endsWith(".ts"))
  .map((file) => readFileSync(file, "utf8"))
  .join("\n");

const sorted = (values: Iterable<string>) => [...new Set(values)].sort();
const matches = (pattern: RegExp, where = source) => sorted([...where.matchAll(pattern)].map((match) => match[1] ?? ""));

describe("manifest", () => {
  const commands = sorted(contributes.commands.map(({ command }) => command));

  it("contributes the commands that are registered, and no others", () => {
    assert.deepEqual(matches(/^ {2}"(weightsmith\.\w+)": \w+,$/gm), commands);
  });

  it("puts only its own commands into menus, and the code calls only commands there are", () => {
    for (const { command } of Object.values(contributes.menus).flat()) assert.ok(commands.includes(command), command);
    const focus = contributes.views.weightsmith.map(({ id }) => `${id}.focus`);
    const called = matches(/(?:executeCommand\(|command(?::| =) |\), )"(weightsmith\.[\w.]+)"/g);
    assert.ok(called.includes("weightsmith.planMerge"), "calls are found");
    for (const command of called) assert.ok([...commands, ...focus].includes(command), command);
  });

  it("describes each setting with a default, and each is read", () => {
    const names = sorted(Object.keys(contributes.configuration.properties));
    assert.deepEqual(
      matches(/\bread(?:<[^>]*>)?\("([\w.]+)"/g).map((name) => `weightsmith.${name}`),
      names,
    );
    for (const [name, { default: value, markdownDescription }] of Object.entries(contributes.configuration.properties)) {
      assert.notEqual(value, undefined, name);
      assert.ok(markdownDescription, name);
    }
  });

  it("has a text for each string it names, and no other texts", () => {
    assert.deepEqual(matches(/"%([\w.]+)%"/g, text), sorted(Object.keys(strings)));
  });

  it("links only to commands there are", () => {
    for (const called of matches(/\(command:([\w.]+)/g, JSON.stringify(strings)))
      if (called.startsWith("weightsmith.")) assert.ok(commands.includes(called), called);
  });

  it("registers its views and editors", () => {
    for (const { id } of contributes.views.weightsmith) assert.ok(source.includes(`"${id}"`), id);
    for (const { viewType } of contributes.customEditors) assert.ok(source.includes(`"${viewType}"`), viewType);
  });

  it("names files that are there", () => {
    for (const path of [manifest.icon, ...contributes.yamlValidation.map(({ url }) => url), ...contributes.snippets.map(({ path }) => path)])
      assert.ok(existsSync(path), path);
  });

  it("asks for no newer editor than the types it is checked against", () => {
    assert.equal(manifest.engines.vscode, `^${manifest.devDependencies["@types/vscode"]}`);
  });

  it("packs only what the extension needs", () => {
    const files = execFileSync(process.execPath, ["node_modules/@vscode/vsce/vsce", "ls", "--no-dependencies"], { encoding: "utf8" }).trim().split(/\s+/);
    const allowed = /^(package\.json|package\.nls\.json|README\.md|CHANGELOG\.md|LICENSE(\.txt)?|dist\/[\w-]+\.(js|cjs|wasm)|media\/.*)$/;
    assert.deepEqual(
      files.filter((file) => !allowed.test(file)),
      [],
    );
    for (const needed of ["package.json", "package.nls.json", "dist/extension.cjs", "dist/inspector.js", "dist/weightsmith.js", "dist/kernels.wasm"])
      assert.ok(files.includes(needed), needed);
  });
});
