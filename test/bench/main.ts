// `npm run bench [-- NAME... [OPTIONS]]`: runs the benchmarks one after another, each in a process of its own so that memory peaks are its own.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const all = readdirSync(here)
  .filter((file) => /^test-bench-.*\.bench\.js$/.test(file))
  .map((file) => file.slice("test-bench-".length, -".bench.js".length));
const words = process.argv.slice(2);
const firstOption = words.findIndex((word) => word.startsWith("-"));
const asked = words.slice(0, firstOption < 0 ? undefined : firstOption);
const options = words.slice(asked.length);
const unknown = asked.filter((name) => !all.includes(name));
if (unknown.length > 0) {
  console.error(`no benchmark named ${unknown.join(", ")}; there are ${all.join(", ")}`);
  process.exit(2);
}
for (const name of asked.length > 0 ? asked : all) {
  console.log(`\n== ${name}`);
  const { status } = spawnSync(process.execPath, [join(here, `test-bench-${name}.bench.js`), ...options], { stdio: "inherit" });
  if (status !== 0) process.exitCode = 1;
}
