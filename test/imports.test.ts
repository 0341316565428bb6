// The layout's import arrows, read from the import specifiers themselves.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

/** For each folder of merge-core, the folders it may import from besides itself. `.` is merge-core's own top level. */
const BELOW_COMPUTE = [".", "bytes", "formats", "checkpoints"];
const ARROWS: Record<string, readonly string[]> = {
  ".": [],
  bytes: ["."],
  formats: [".", "bytes"],
  checkpoints: [".", "bytes", "formats"],
  compute: BELOW_COMPUTE,
  methods: [...BELOW_COMPUTE, "compute"],
  adapters: [...BELOW_COMPUTE, "compute"],
  recipe: [...BELOW_COMPUTE, "compute", "methods", "adapters"],
  plan: [...BELOW_COMPUTE, "compute", "methods", "adapters", "recipe"],
  run: [...BELOW_COMPUTE, "compute", "methods", "adapters", "recipe", "plan"],
  nn: [...BELOW_COMPUTE, "compute", "adapters"],
  train: [...BELOW_COMPUTE, "compute", "adapters", "nn", "evaluate"],
  evaluate: [...BELOW_COMPUTE, "compute", "methods", "adapters", "recipe", "plan", "run", "nn"],
  moe: [...BELOW_COMPUTE, "compute", "methods", "adapters", "recipe", "plan", "run", "nn", "train"],
  transplant: [...BELOW_COMPUTE, "compute", "methods", "adapters", "recipe", "plan", "run", "nn"],
  slices: [...BELOW_COMPUTE, "compute", "adapters", "run", "nn", "train", "evaluate"],
  transfer: [...BELOW_COMPUTE, "compute", "adapters", "run", "nn", "train", "evaluate"],
  adapt: [...BELOW_COMPUTE, "compute", "methods", "adapters", "recipe", "plan", "run", "nn", "train", "evaluate"],
  population: [...BELOW_COMPUTE, "compute", "adapters", "run", "nn"],
  share: [...BELOW_COMPUTE, "compute", "adapters", "plan", "run"],
  align: [...BELOW_COMPUTE, "compute", "adapters", "plan", "run", "nn", "evaluate"],
  analysis: [...BELOW_COMPUTE, "compute"],
  pareto: [...BELOW_COMPUTE, "compute", "methods", "adapters", "recipe", "plan", "run", "nn", "train", "evaluate", "analysis"],
  notebook: [".", "analysis", "pareto", "train"],
  unlearn: [...BELOW_COMPUTE, "compute", "methods", "adapters", "recipe", "plan", "run", "nn", "train", "evaluate", "analysis", "pareto"],
};

function sources(folder: string): string[] {
  return readdirSync(folder, { recursive: true })
    .map((file) => join(folder, String(file)))
    .filter((file) => file.endsWith(".ts") && !file.includes(join("compute", "kernels")));
}

function importsOf(file: string): string[] {
  const text = readFileSync(file, "utf8");
  return [...text.matchAll(/(?:^|\n)\s*(?:import|export)\b[^"'`;]*?from\s*["']([^"']+)["']|\bimport\s*\(?\s*["']([^"']+)["']/g)].map((m) => m[1] ?? m[2] ?? "");
}

const folderOf = (file: string): string => {
  const parts = file.split("/");
  return parts.length > 2 ? (parts[1] ?? ".") : ".";
};

describe("import arrows", () => {
  it("point left inside merge-core", () => {
    const wrong: string[] = [];
    for (const file of sources("merge-core")) {
      const from = folderOf(file);
      if (from === "cli" || file === "merge-core/index.ts") continue;
      for (const specifier of importsOf(file).filter((s) => s.startsWith("."))) {
        const target = normalize(join(dirname(file), specifier));
        if (target === "package.json" || target.startsWith("dist/")) continue;
        const to = target.startsWith("merge-core/") ? folderOf(target) : target;
        if (to !== from && !ARROWS[from]?.includes(to)) wrong.push(`${file} -> ${specifier}`);
      }
    }
    assert.deepEqual(wrong, []);
  });

  it("have no cycles between files", () => {
    const graph = new Map(
      sources("merge-core").map((file) => [
        file,
        importsOf(file)
          .filter((s) => s.startsWith("."))
          .map((s) => normalize(join(dirname(file), s))),
      ]),
    );
    const done = new Set<string>();
    const cycles: string[] = [];
    const visit = (file: string, path: readonly string[]): void => {
      if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(" -> "));
      else if (!done.has(file)) {
        for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
        done.add(file);
      }
    };
    for (const file of graph.keys()) visit(file, []);
    assert.deepEqual(cycles, []);
  });

  it("keep vscode in extension, and webviews away from Node and from merge-core's code that needs it", () => {
    const wrong: string[] = [];
    for (const folder of ["merge-core", "webviews", "extension"]) {
      for (const file of sources(folder)) {
        for (const specifier of importsOf(file)) {
          if (specifier === "vscode" && folder !== "extension") wrong.push(`${file} -> ${specifier}`);
          if (folder === "webviews" && specifier.startsWith("node:")) wrong.push(`${file} -> ${specifier}`);
          if (folder === "extension" && /webviews\/(?!protocol)/.test(specifier)) wrong.push(`${file} -> ${specifier}`);
          if (folder === "merge-core" && /(^|\/)(webviews|extension)\//.test(specifier)) wrong.push(`${file} -> ${specifier}`);
        }
      }
    }
    assert.deepEqual(wrong, []);
  });

  it("sees the imports it judges", () => {
    assert.ok(importsOf("merge-core/cli/main.ts").includes("../diagnostics.ts"));
    assert.ok(importsOf("merge-core/methods/method.ts").includes("../compute/expr.ts"), "type imports count too");
  });
});
