import assert from "node:assert/strict";
import type { CommandContext } from "../../merge-core/cli/command.ts";
import { loadCommands } from "../../merge-core/cli/commands.ts";
import { parseArguments, THREADS } from "../../merge-core/cli/options.ts";
import { chooseTrainingEngine, TRAINING_DEVICE } from "../../merge-core/cli/training-device.ts";
import type { Diagnostic } from "../../merge-core/diagnostics.ts";
import { endDevice, FAST, packageFolder, STAND_IN, withPackages } from "../helpers/tfjs-packages.ts";

async function choose(device: string, folder: string) {
  const [notes, warnings]: [string[], Diagnostic[]] = [[], []];
  const output = { note: (note: string) => notes.push(note), diagnostics: (found: Diagnostic[]) => warnings.push(...found) };
  const context = { output, signal: new AbortController().signal } as unknown as CommandContext;
  const args = parseArguments(["--device", device, "--threads", "1"], [TRAINING_DEVICE, THREADS]);
  try {
    return { engine: await withPackages(folder, () => chooseTrainingEngine(args, context)), notes, warnings };
  } finally {
    await endDevice("tfjs-node");
    await endDevice("tfjs-node-gpu");
  }
}

describe("--device of commands that compute models", () => {
  it("is the same option in all of them", async () => {
    const all = (await loadCommands()).flatMap((command) => [command, ...(command.subcommands ?? [])]);
    const named = all.filter(({ name }) => ["train", "eval", "train-front", "adapter transfer", "run"].includes(name));
    assert.equal(named.length, 5);
    for (const { name, options } of named) assert.ok(options.includes(TRAINING_DEVICE), name);
  });

  it("is cpu without a word", async () => {
    assert.deepEqual(await choose("cpu", "/nowhere"), { engine: {}, notes: [], warnings: [] });
  });

  it("takes a package that works, and says which", async () => {
    const { engine, notes } = await choose("tfjs-node", packageFolder("@tensorflow/tfjs-node", STAND_IN));
    assert.deepEqual(engine, { device: "tfjs-node" });
    assert.match(notes[0] ?? "", /^device: tfjs-node cpu 4\.22\.0, as asked$/);
  });

  it("goes on with our engine where the package is absent or broken, with a warning", async () => {
    const broken = packageFolder("@tensorflow/tfjs-node-gpu", 'throw new Error("The Node.js native addon module (tfjs_binding.node) can not be found");');
    const { engine, warnings } = await choose("tfjs-node-gpu", broken);
    assert.deepEqual(engine, {});
    assert.deepEqual([warnings[0]?.code, warnings[0]?.severity], ["device-unusable", "warning"]);
    assert.match(warnings[0]?.found ?? "", /native addon/);
    const { warnings: absent } = await choose("tfjs-node-gpu", "/nowhere");
    assert.match(`${absent[0]?.found}: ${absent[0]?.remedy}`, /not installed: npm install .*@tensorflow\/tfjs-node-gpu/);
  });

  it("auto takes what is far faster, and leaves what is slower", async () => {
    const fast = await choose("auto", packageFolder("@tensorflow/tfjs-node-gpu", FAST));
    assert.deepEqual(fast.engine, { device: "tfjs-node-gpu" });
    assert.match(fast.notes[0] ?? "", /since cpu does \d+ GFLOP\/s and .*tfjs-node-gpu does \d+ GFLOP\/s in matrix products/);
    const slow = await choose("auto", packageFolder("@tensorflow/tfjs-node-gpu", STAND_IN));
    assert.equal(slow.engine.device, undefined);
    assert.match(slow.notes[0] ?? "", /^device: (cpu|blas), since/);
  });
});
