// A run killed by the system, not by its own will: the program is started, killed without warning, and started again.
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../helpers/folders.ts";
import { writeTinyModel } from "../helpers/tiny-decoder.ts";

const PROGRAM = fileURLToPath(new URL("./weightsmith.js", import.meta.url));

describe("a killed training run", () => {
  it("goes on where it was and ends with the same bytes", async () => {
    const folder = temporaryFolder();
    writeTinyModel(join(folder, "model"));
    writeFileSync(join(folder, "data.jsonl"), [..."abcdefgh"].map((a) => JSON.stringify({ prompt: a, completion: a })).join("\n"));
    writeFileSync(join(folder, "train.yml"), "model: model\ndata: { train: data.jsonl }\nsteps: 400\nbatch_size: 2\nsave_every: 10\ndtype: float32\n");
    const command = (out: string) => [PROGRAM, "train", join(folder, "train.yml"), join(folder, out), "--json", "--quiet", "--threads", "1"];

    const child = spawn(process.execPath, command("killed"), { stdio: "ignore" });
    await reaches(join(folder, "killed.partial", "training-log.jsonl"), 60, child);
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
    assert.equal(existsSync(join(folder, "killed")), false);

    const result = JSON.parse(execFileSync(process.execPath, command("killed"), { encoding: "utf8" })) as { resumedFrom: number };
    assert.ok(result.resumedFrom >= 50 && result.resumedFrom < 400, `resumed from ${result.resumedFrom}`);
    execFileSync(process.execPath, command("whole"));
    const weights = (out: string) => readFileSync(join(folder, out, "model.safetensors"));
    assert.ok(weights("killed").equals(weights("whole")));
  });
});

/** Waits until a file has so many lines while the process writes it. */
async function reaches(file: string, lines: number, writer: ChildProcess): Promise<void> {
  while (!existsSync(file) || readFileSync(file, "utf8").split("\n").length <= lines) {
    assert.equal(writer.exitCode, null, "the run ended before it could be killed");
    await setTimeout(5);
  }
}
