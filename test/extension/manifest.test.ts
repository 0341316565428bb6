// What package.json promises and what the code does, compared both ways.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { COMBINATIONS } from "../../merge-core/adapters/combine.ts";
import { DEVICE } from "../../merge-core/cli/device.ts";
import { OUTPUT_MIME } from "../../merge-core/notebook/cell-output.ts";
import { UNLEARN_METHODS } from "../../merge-core/unlearn/config.ts";

interface Manifest {
  readonly engines: { readonly vscode: string };
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly icon: string;
  readonly contributes: {
    readonly commands: readonly { readonly command: string }[];
    readonly menus: Readonly<Record<string, readonly { readonly command: string; readonly when?: string; readonly group?: string }[]>>;
    readonly views: { readonly weightsmith: readonly { readonly id: string }[] };
    readonly customEditors: readonly { readonly viewType: string }[];
    readonly notebooks: readonly { readonly type: string }[];
    readonly notebookRenderer: readonly { readonly entrypoint: string; readonly mimeTypes: readonly string[] }[];
    readonly yamlValidation: readonly { readonly url: string }[];
    readonly snippets: readonly { readonly path: string }[];
    readonly configuration: {
      readonly properties: Readonly<Record<string, { readonly default?: unknown; readonly enum?: readonly string[]; readonly markdownDescription?: string }>>;
    };
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

/** Offered where a recipe names a model that is not there. */
const BY_QUICK_FIX = ["weightsmith.locateModel"];

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

  it("reaches each command by keyboard: in the palette, or in a context menu", () => {
    const { commandPalette = [], ...menus } = contributes.menus;
    const hidden = commandPalette.filter(({ when }) => when === "false").map(({ command }) => command);
    const inMenus = ["view/item/context", "explorer/context"].flatMap((name) => menus[name] ?? []);
    for (const command of hidden.filter((id) => !BY_QUICK_FIX.includes(id)))
      assert.ok(
        inMenus.some((entry) => entry.command === command && entry.group !== "inline"),
        command,
      );
  });

  it("has a test in the editor for each command", () => {
    const tests = readdirSync("test/e2e").filter((file) => file.endsWith(".e2e.ts"));
    const told = tests.map((file) => readFileSync(join("test/e2e", file), "utf8")).join("\n");
    for (const command of commands.filter((id) => !BY_QUICK_FIX.includes(id))) {
      const title = strings[`command.${command.slice("weightsmith.".length)}`]?.replace(/\.\.\.$/, "") ?? command;
      assert.ok(told.includes(title), title);
    }
  });

  it("offers the devices that the command line takes", () => {
    const { enum: devices = [], default: device } = contributes.configuration.properties["weightsmith.device"] ?? {};
    assert.deepEqual(sorted(devices), sorted(DEVICE.choices ?? []));
    assert.equal(device, "cpu");
  });

  it("offers ways to combine adapters and to forget that the command line knows", () => {
    const listed = (file: string, name: string) => {
      const [, block = ""] = new RegExp(`const ${name}[^{]*\\{([^}]*)\\}`).exec(readFileSync(file, "utf8")) ?? [];
      return matches(/^ {2}(\w+):/gm, block);
    };
    const [ways, forgetting] = [listed("extension/commands/adapters.ts", "WAYS"), listed("extension/commands/unlearn.ts", "FORGETTING")];
    assert.ok(ways.length > 3 && forgetting.length > 2);
    for (const way of ways) assert.ok((COMBINATIONS as readonly string[]).includes(way), way);
    assert.deepEqual(forgetting, [...UNLEARN_METHODS].sort());
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

  it("registers its notebook, and draws what its cells give", () => {
    for (const { type } of contributes.notebooks) assert.ok(source.includes(`"${type}"`), type);
    const [renderer] = contributes.notebookRenderer;
    assert.deepEqual(renderer?.mimeTypes, [OUTPUT_MIME]);
    assert.match(readFileSync(renderer?.entrypoint ?? "", "utf8"), /export\s*\{[^}]*\bactivate\b/);
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
    const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
    // Packed it is smaller still.
    assert.ok(bytes < 15e6, `${bytes} bytes`);
    for (const needed of ["package.json", "package.nls.json", "dist/extension.cjs", "dist/inspector.js", "dist/weightsmith.js", "dist/kernels.wasm"])
      assert.ok(files.includes(needed), needed);
  });
});
