// Ours and mergekit on the same recipes, files and machine: wall time, processor time, peak memory, and how far the results lie apart.
//   npm run bench -- peers [--scale full|small] [--methods linear,ties] [--repeats N]
//   WEIGHTSMITH_PEER_PYTHON  a Python that has mergekit (default: python3); without mergekit nothing is measured
//   WEIGHTSMITH_BENCH_DIR    where the checkpoints go for the time of the run (default: the system's temporary folder)
// Both run as a user runs them: a new process with default options. The inputs are in the page cache for both if memory allows.
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { differenceOf } from "./peers/difference.ts";
import { type Cost, measure, mergekitVersion } from "./peers/measure.ts";
import { elementsOf, makeModel, SCALES } from "./peers/models.ts";
import { CASES, type Case, recipeText } from "./peers/recipes.ts";

const MEMORY_PROMISED = 4;
const GIB = 2 ** 30;
const program = join(dirname(fileURLToPath(import.meta.url)), "weightsmith.js");
const python = process.env.WEIGHTSMITH_PEER_PYTHON ?? "python3";

const { values: options } = parseArgs({
  options: {
    scale: { type: "string", default: "full" },
    methods: { type: "string", default: CASES.map(({ method }) => method).join(",") },
    repeats: { type: "string", default: "1" },
  },
});
const scale = SCALES[options.scale];
const wanted = options.methods.split(",");
const unknown = wanted.filter((name) => !CASES.some(({ method }) => method === name));
const repeats = Number(options.repeats);
if (scale === undefined) usage(`no scale named ${options.scale}; there are ${Object.keys(SCALES).join(", ")}`);
if (unknown.length > 0) usage(`no method named ${unknown.join(", ")}; there are ${CASES.map(({ method }) => method).join(", ")}`);
if (!(Number.isSafeInteger(repeats) && repeats > 0)) usage("--repeats takes a whole number above zero");

function usage(message: string): never {
  console.error(message);
  process.exit(2);
}

const version = mergekitVersion(python);
if (version === undefined) {
  console.log(`SKIPPED: ${python} has no mergekit; install it there or name another Python in WEIGHTSMITH_PEER_PYTHON`);
  process.exit(0);
}

const parent = resolve(process.env.WEIGHTSMITH_BENCH_DIR ?? tmpdir());
mkdirSync(parent, { recursive: true });
const needed = elementsOf(scale) * 2 * 6.2;
const { bavail, bsize } = statfsSync(parent);
if (bavail * bsize < needed) usage(`${parent} has ${(Number(bavail * bsize) / GIB).toFixed(1)} GiB free; ${(needed / GIB).toFixed(1)} GiB are needed`);
const folder = mkdtempSync(join(parent, "weightsmith-peers-"));
process.on("SIGINT", () => process.exit(130));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

interface Row {
  readonly method: string;
  readonly ours: Cost;
  readonly theirs: Cost;
  readonly difference: { readonly max: number; readonly share: number } | undefined;
}

/** The fastest of several runs, by turns; the outputs of the last are compared, where nothing in them is random. */
async function compare(c: Case, models: readonly string[]): Promise<Row> {
  const recipe = join(folder, `${c.method}.yml`);
  writeFileSync(recipe, recipeText(c, models));
  const [out, peer] = [join(folder, "ours"), join(folder, "theirs")];
  const runs: { ours: Cost; theirs: Cost }[] = [];
  for (let i = 0; i < repeats; i++) {
    for (const place of [out, peer]) rmSync(place, { recursive: true, force: true });
    const theirs = measure(python, join(folder, "theirs.log"), [python, "-m", "mergekit.scripts.run_yaml", recipe, peer]);
    const ours = measure(python, join(folder, "ours.log"), [process.execPath, program, "merge", recipe, out]);
    runs.push({ ours, theirs });
  }
  const best = (side: "ours" | "theirs"): Cost => runs.map((run) => run[side]).reduce((a, b) => (b.seconds < a.seconds ? b : a));
  const difference = c.random ? undefined : await differenceOf(out, peer);
  return { method: c.method, ours: best("ours"), theirs: best("theirs"), difference };
}

const times = (theirs: number, ours: number): string => `${(theirs / ours).toFixed(1)}x`;
const show = ({ method, ours, theirs, difference }: Row): string =>
  `| ${[
    method,
    `${ours.seconds.toFixed(1)} s`,
    `${theirs.seconds.toFixed(1)} s`,
    times(theirs.seconds, ours.seconds),
    `${ours.cpuSeconds.toFixed(1)} s`,
    `${theirs.cpuSeconds.toFixed(1)} s`,
    times(theirs.cpuSeconds, ours.cpuSeconds),
    `${Math.round(ours.peakBytes / 2 ** 20)} MiB`,
    `${Math.round(theirs.peakBytes / 2 ** 20)} MiB`,
    times(theirs.peakBytes, ours.peakBytes),
    difference === undefined ? "random" : `${difference.max.toExponential(1)} (${(100 * difference.share).toPrecision(2)} %)`,
  ].join(" | ")} |`;

console.log(
  `mergekit ${version}, ${options.scale} scale: ${(elementsOf(scale) / 1e6).toFixed(0)} million bf16 parameters, a base and 3 fine-tuned models in ${folder}`,
);
const models = ["base", "a", "b", "c"].map((name, seed) => {
  makeModel(join(folder, name), scale, seed);
  return join(folder, name);
});
console.log(
  "\n| Method | time | mergekit | ratio | CPU time | mergekit | ratio | peak memory | mergekit | ratio | largest difference (unequal elements) |\n|---|---|---|---|---|---|---|---|---|---|---|",
);
const rows: Row[] = [];
for (const c of CASES.filter(({ method }) => wanted.includes(method))) {
  const row = await compare(c, models);
  console.log(show(row));
  rows.push(row);
}
console.log(`\n${JSON.stringify({ mergekit: version, scale: options.scale, rows })}`);
for (const { method, ours, theirs } of rows) {
  const promised = CASES.find((c) => c.method === method)?.promised ?? 0;
  if (theirs.seconds / ours.seconds < promised) missed(`${method} is ${times(theirs.seconds, ours.seconds)} as fast, ${promised}x is promised`);
  if (theirs.peakBytes / ours.peakBytes < MEMORY_PROMISED)
    missed(`${method} needs ${times(ours.peakBytes, theirs.peakBytes)} of mergekit's memory, 1/${MEMORY_PROMISED} is promised`);
}

function missed(message: string): void {
  console.log(`missed: ${message}`);
  // At the small scale both sides mostly start up.
  if (options.scale === "full") process.exitCode = 1;
}
