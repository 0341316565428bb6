// Packs what `npm run bench -- gpu` needs into one file, for a machine with a GPU and without a network: Node, the benchmark, Dawn and tfjs, and
// the Vulkan loader where this machine has one. Usage: npm run bench:pack [-- FILE]
import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

const target = resolve(process.argv[2] ?? "out/weightsmith-gpu.tar.xz");
const work = mkdtempSync(join(tmpdir(), "weightsmith-gpu-"));
const pack = join(work, "weightsmith-gpu");
const PROGRAMS = [
  "bench",
  "test-bench-gpu.bench",
  "gpu-cases",
  "gpu-worker",
  "gpu-probe",
  "device-worker",
  "compute-worker",
  "load-tfjs",
  "blas-probe",
  "weightsmith",
];
const LOADERS = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/lib/chromium"];

function copy(file, to = file) {
  mkdirSync(dirname(join(pack, to)), { recursive: true });
  cpSync(file, join(pack, to), { recursive: true, dereference: true });
}

/** A bundle and those that it imports. */
function copyBundle(name, done = new Set()) {
  if (done.has(name)) return;
  done.add(name);
  copy(join(work, "out", name), join("out", name));
  for (const [, found] of readFileSync(join(work, "out", name), "utf8").matchAll(/(?:from|import)\s*\(?\s*"\.\/([\w.-]+\.js)"/g)) copyBundle(found, done);
}

/** A package's file for Node and those of the packages that it requires. */
function copyPackage(name, done = new Set()) {
  if (done.has(name) || builtinModules.includes(name)) return;
  done.add(name);
  const folder = join("node_modules", name);
  const { main = "index.js", dependencies = {} } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  if (!name.startsWith("@tensorflow/")) copy(folder);
  else for (const file of ["package.json", main]) copy(join(folder, file));
  const text = readFileSync(join(folder, existsSync(join(folder, main)) ? main : `${main}.js`), "utf8");
  const required = new Set([...text.matchAll(/require\(['"]([^.'"][^'"]*)['"]\)/g)].map((match) => match[1]));
  for (const found of name.startsWith("@tensorflow/") ? required : Object.keys(dependencies))
    if (existsSync(join("node_modules", found))) copyPackage(found, done);
}

const RUN = `#!/bin/sh
# Prints the measurements; --report FILE writes them there too.
cd "$(dirname "$0")" || exit 1
ldconfig -p 2>/dev/null | grep -q libvulkan.so.1 || export LD_LIBRARY_PATH="$PWD/lib:$LD_LIBRARY_PATH"
exec ./node out/bench.js gpu "$@"
`;

try {
  execFileSync(process.execPath, ["build.mjs", "--tests"], { stdio: "inherit", env: { ...process.env, OUT: join(work, "out") } });
  mkdirSync(pack);
  mkdirSync(dirname(target), { recursive: true });
  for (const program of PROGRAMS) copyBundle(`${program}.js`);
  writeFileSync(join(pack, "package.json"), '{ "type": "module" }\n');
  for (const file of ["index.js", "package.json", join("dist", process.platform === "darwin" ? "darwin-universal" : `${process.platform}-${process.arch}`)])
    copy(join("node_modules/webgpu", file));
  copyPackage("@tensorflow/tfjs-backend-webgpu");
  copy("test/bench/peers");
  copy(process.execPath, "node");
  const loader = LOADERS.map((folder) => join(folder, "libvulkan.so.1")).find((file) => existsSync(file));
  if (loader !== undefined) copy(loader, "lib/libvulkan.so.1");
  else console.log("without the Vulkan loader: the other machine must have libvulkan.so.1");
  writeFileSync(join(pack, "run.sh"), RUN);
  chmodSync(join(pack, "run.sh"), 0o755);
  execFileSync("tar", ["-caf", target, "-C", work, "weightsmith-gpu"], { env: { ...process.env, XZ_OPT: "-T2" } });
  console.log(`${target}: ${(statSync(target).size / 2 ** 20).toFixed(1)} MiB. There: tar xf FILE && weightsmith-gpu/run.sh --report report.md`);
} finally {
  rmSync(work, { recursive: true, force: true });
}
