// Builds everything that ships into dist/, and with --tests the tests, benchmarks and the zoo maker into out/.
// One flat output folder each, so that a bundle finds its worker and its data beside itself.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { build } from "esbuild";

const require = createRequire(import.meta.url);
const OUT = process.env.OUT ?? "out";
const KERNELS = "merge-core/compute/kernels";

/** Compiles the AssemblyScript kernels to SIMD WebAssembly; never relaxed SIMD, whose results differ between machines. */
function buildKernels() {
  const target = "dist/kernels.wasm";
  const sources = readdirSync(KERNELS).map((file) => join(KERNELS, file));
  const newest = Math.max(...[...sources, "build.mjs"].map((file) => statSync(file).mtimeMs));
  if (existsSync(target) && statSync(target).mtimeMs > newest) return;
  const asc = require.resolve("assemblyscript/bin/asc.js");
  // Under a name of its own first: another build may be reading or writing the target.
  const fresh = `${target}.${process.pid}`;
  const limits = ["--initialMemory", "1", "--maximumMemory", "65536", "--memoryBase", "1024"];
  const features = ["--noAssert", "--runtime", "stub", "--importMemory", "--sharedMemory", "--enable", "simd,threads,bulk-memory"];
  execFileSync(process.execPath, [asc, `${KERNELS}/index.ts`, "--outFile", fresh, "-O3", ...features, ...limits], { stdio: "inherit" });
  renameSync(fresh, target);
}

const node = {
  bundle: true,
  format: "esm",
  platform: "node",
  target: "node20",
  splitting: true,
  sourcemap: "linked",
  chunkNames: "chunk-[hash]",
  external: ["playwright-core", "koffi", "webgpu", "@tensorflow/tfjs-node", "@tensorflow/tfjs-node-gpu", "@tensorflow/tfjs-backend-webgpu"],
  loader: { ".wasm": "binary" },
  logLevel: "warning",
  // Some dependencies are CommonJS inside and call require() for node's own modules.
  banner: { js: 'import { createRequire as __createRequire } from "node:module"; const require = __createRequire(import.meta.url);' },
};

/** Programs and the library; those that are started by URL keep their plain names. */
const programs = {
  weightsmith: "merge-core/cli/main.ts",
  index: "merge-core/index.ts",
  "compute-worker": "merge-core/compute/worker.ts",
  "gpu-worker": "merge-core/compute/gpu/worker.ts",
  "device-worker": "merge-core/nn/device/worker.ts",
  "load-tfjs": "merge-core/compute/providers/load-tfjs.ts",
  "blas-probe": "merge-core/compute/providers/blas-probe.ts",
  "gpu-probe": "merge-core/compute/gpu/probe.ts",
};

/** CommonJS that runs inside the editor: its own module loader knows no other, and in this package only a .cjs file is that. */
function buildForEditor(entryPoints, outdir, more = {}) {
  return build({
    bundle: true,
    format: "cjs",
    platform: "node",
    target: "node20",
    entryPoints,
    outdir,
    outExtension: { ".js": ".cjs" },
    external: ["vscode", "mocha"],
    sourcemap: "linked",
    logLevel: "warning",
    ...more,
  });
}

/** Scripts that run inside a web page. */
const pages = {
  report: "webviews/report/main.ts",
  comparison: "webviews/comparison/main.ts",
  inspector: "webviews/inspector/main.ts",
  pareto: "webviews/pareto/main.ts",
  runs: "webviews/runs/main.ts",
  notebook: "webviews/notebook/main.ts",
  weights: "webviews/weights/main.ts",
};

function present(entries) {
  return Object.fromEntries(Object.entries(entries).filter(([, file]) => existsSync(file)));
}

/** What the editor imports to draw outputs of notebooks. */
const renderers = { "notebook-renderer": "webviews/notebook/renderer.ts" };

function buildPages(outdir) {
  const page = { bundle: true, platform: "browser", target: "es2022", minify: true, outdir, logLevel: "warning", loader: { ".css": "text" } };
  return Promise.all([build({ ...page, format: "iife", entryPoints: present(pages) }), build({ ...page, format: "esm", entryPoints: present(renderers) })]);
}

/** Entries named after their path, so that the output stays one flat folder. */
function entries(folder, suffix) {
  const files = readdirSync(folder, { recursive: true })
    .map(String)
    .filter((file) => file.endsWith(suffix) && !file.includes("node_modules"))
    .map((file) => join(folder, file));
  return Object.fromEntries(files.map((file) => [file.slice(0, -3).replaceAll(/[\\/]/g, "-"), file]));
}

mkdirSync("dist", { recursive: true });
buildKernels();
if (process.argv.includes("--tests")) {
  rmSync(OUT, { recursive: true, force: true });
  const tests = {
    ...entries("test", ".test.ts"),
    ...entries("test", ".bench.ts"),
    ...entries("test", ".e2e.ts"),
    ...present({
      "gpu-cases": "test/compute/gpu/run-cases.ts",
      "webgpu-steps": "test/nn/device/webgpu-steps.ts",
      bench: "test/bench/main.ts",
      zoo: "scripts/zoo/main.ts",
      "zoo-report": "scripts/zoo/report/main.ts",
      schema: "scripts/schema/main.ts",
    }),
  };
  await Promise.all([
    build({ ...node, outdir: OUT, entryPoints: { ...present(programs), ...tests } }),
    buildPages(OUT),
    buildForEditor({ host: "test/e2e/host/main.ts" }, OUT),
  ]);
} else {
  for (const file of readdirSync("dist")) if (file !== "kernels.wasm") rmSync(join("dist", file), { recursive: true });
  await Promise.all([
    build({ ...node, outdir: "dist", entryPoints: present(programs) }),
    buildPages("dist"),
    buildForEditor({ extension: "extension/extension.ts" }, "dist", {
      minify: true,
      banner: { js: 'performance.mark("weightsmith loading", { detail: process.threadCpuUsage?.() });' },
    }),
  ]);
}
