// A search whose process is killed outright, with no chance to clean up, and started again.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../helpers/folders.ts";

const PROGRAM = fileURLToPath(new URL("./weightsmith.js", import.meta.url));
const ZOO = resolve("media/zoo");
const objective = (task: string) => `  - { name: ${task}, metric: loss, data: ${ZOO}/data/${task}.validation.jsonl, limit: 16 }\n`;
const OBJECTIVES = `objectives:\n${objective("sort")}${objective("add")}`;

const SEARCHES = {
  pareto: {
    config: `base: ${ZOO}/base\nmodels: [${ZOO}/sort, ${ZOO}/add]\ndtype: bfloat16\n${OBJECTIVES}samples: 8\nfront: 3\n`,
    result: "pareto.json",
  },
  evolve: {
    config: `recipe:
  merge_method: task_arithmetic
  base_model: ${ZOO}/base
  models:
    - { model: ${ZOO}/sort, parameters: { weight: { search: [0, 1] } } }
    - { model: ${ZOO}/add, parameters: { weight: { search: [0, 1] } } }
${OBJECTIVES}trials: 12
`,
    result: "evolve.json",
  },
} as const;

describe("a search that is killed", () => {
  for (const [command, { config, result }] of Object.entries(SEARCHES)) {
    it(`${command} comes to the same result when it is started again, and measures nothing twice`, async () => {
      const folder = temporaryFolder();
      const file = join(folder, "search.yml");
      writeFileSync(file, config);
      const args = (out: string) => [PROGRAM, command, file, join(folder, out), "--quiet", "--threads", "1"];
      const journal = (out: string) => join(folder, out, "trials.jsonl");
      const lines = (out: string) => (existsSync(journal(out)) ? readFileSync(journal(out), "utf8").split("\n").length - 1 : 0);
      const run = (out: string) => {
        const { status, stderr } = spawnSync(process.execPath, args(out), { encoding: "utf8" });
        assert.equal(status, 0, stderr);
      };
      run("whole");
      for (const enough of [1, 6]) {
        const out = `killed-${enough}`;
        const child = spawn(process.execPath, args(out), { stdio: "ignore" });
        const gone = once(child, "exit");
        while (lines(out) < enough) await setTimeout(2);
        child.kill("SIGKILL");
        await gone;
        const found = lines(out);
        assert.ok(found < lines("whole"), "it was killed on its way");
        run(out);
        assert.equal(lines(out), lines("whole"));
        assert.equal(readFileSync(join(folder, out, result), "utf8"), readFileSync(join(folder, "whole", result), "utf8"));
      }
    });
  }
});
