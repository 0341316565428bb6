// npm run zoo: makes media/zoo again from nothing but seeds. Trains in a temporary folder, measures, and replaces the
// sample models only if they show what they must. npm run zoo -- --measure only measures those that are there, and
// npm run zoo -- --families trains an adapter of every family and fills the README's table of them.
import { cp, mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { TASKS } from "../../merge-core/evaluate/synthetic-tasks.ts";
import { writeJson } from "../../merge-core/nn/save.ts";
import { describeZoo, zooReadme } from "./description.ts";
import { measureFamilies } from "./families.ts";
import { type Measurement, measureZoo } from "./measure.ts";
import { REQUIRED } from "./settings.ts";
import { trainZoo } from "./train-zoo.ts";

const ZOO = "media/zoo";
const threads = Math.min(2, availableParallelism());
const log = (line: string) => process.stdout.write(`${line}\n`);

/** What the zoo should show and does not. */
function shortcomings(measured: readonly Measurement[], bytes: number): string[] {
  const wrong = measured.flatMap(({ name, kind, task = "", exactMatch }) => {
    if (kind === "expert" && (exactMatch[task] ?? 0) < REQUIRED.expertAtLeast) return [`${name} solves only ${exactMatch[task]} of its task`];
    if (kind === "base") return TASKS.filter((t) => (exactMatch[t] ?? 1) > REQUIRED.baseAtMost).map((t) => `the base already solves ${exactMatch[t]} of ${t}`);
    return [];
  });
  return bytes > REQUIRED.bytesAtMost ? [...wrong, `the folder has ${bytes} bytes, more than ${REQUIRED.bytesAtMost}`] : wrong;
}

async function sizeOf(folder: string): Promise<number> {
  const files = await readdir(folder, { recursive: true, withFileTypes: true });
  const sizes = await Promise.all(files.filter((file) => file.isFile()).map(async (file) => (await stat(join(file.parentPath, file.name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Removes what the seed gives back: the data that was only trained on, and the folder that training started from. */
async function dropTrainingData(work: string): Promise<void> {
  await rm(join(work, "skeleton"), { recursive: true });
  for (const file of await readdir(join(work, "data"))) if (!/\.(test|validation)\.jsonl$/.test(file)) await rm(join(work, "data", file));
}

/** Puts the new models into the zoo; the recipes there are written by hand and stay. */
async function replaceZoo(work: string): Promise<void> {
  for (const name of await readdir(work)) {
    await rm(join(ZOO, name), { recursive: true, force: true });
    await cp(join(work, name), join(ZOO, name), { recursive: true });
  }
}

/** Measures the models in `folder` and writes zoo.json and README.md from that. */
async function describe(folder: string): Promise<Measurement[]> {
  const measured = await measureZoo(folder, threads);
  for (const { name, exactMatch } of measured) log(`${name.padEnd(16)} ${TASKS.map((task) => `${task} ${exactMatch[task]?.toFixed(3)}`).join("  ")}`);
  await writeJson(join(folder, "zoo.json"), describeZoo(measured));
  await writeFile(join(folder, "README.md"), zooReadme(measured));
  return measured;
}

async function make(): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), "weightsmith-zoo-"));
  log(`working in ${work} with ${threads} threads`);
  await trainZoo({ work, threads, log });
  await dropTrainingData(work);
  const wrong = shortcomings(await describe(work), await sizeOf(work));
  if (wrong.length > 0) {
    log(`${ZOO} is left as it was: ${wrong.join("; ")}. The new models are in ${work}.`);
    process.exitCode = 1;
    return;
  }
  await mkdir(ZOO, { recursive: true });
  await replaceZoo(work);
  await rm(work, { recursive: true });
  log(`${ZOO}: ${((await sizeOf(ZOO)) / 1e6).toFixed(2)} MB`);
}

const families = process.argv.indexOf("--families");
if (families >= 0) await measureFamilies(process.argv.slice(families + 1), threads, log);
else if (process.argv.includes("--measure")) await describe(ZOO);
else await make();
