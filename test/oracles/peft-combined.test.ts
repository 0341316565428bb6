// Adapters combined here and by PEFT's add_weighted_adapter (peft_families.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Combination } from "../../merge-core/adapters/combine.ts";
import { loraDelta } from "../../merge-core/adapters/lora.ts";
import { readPeftLora } from "../../merge-core/adapters/peft-lora.ts";
import { combineAdapters } from "../../merge-core/run/combine-adapters.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { readTensors, valuesOf } from "./read-tensors.ts";

const FOLDER = "test/fixtures/oracles/peft-families/combined";
const ADAPTERS = ["a", "b", "c"].map((name) => `${FOLDER}/${name}`);
const { weights } = JSON.parse(readFileSync(`${FOLDER}/../provenance.json`, "utf8")) as { weights: number[] };

async function deltas(folder: string): Promise<Map<string, Float64Array>> {
  const { modules } = await readPeftLora(folder);
  return new Map([...modules].map(([module, factors]) => [module, loraDelta(factors)]));
}

describe("Adapters combined as PEFT combines them", () => {
  for (const method of ["cat", "linear", "svd", "ties", "ties_svd", "magnitude_prune", "magnitude_prune_svd"] as const) {
    it(`change the weights by the same: ${method}`, async () => {
      const out = join(temporaryFolder(), "out");
      await combineAdapters({ adapters: ADAPTERS, weights, method, out, rank: 4, density: 0.6 });
      const ours = await deltas(out);
      const golden = await readTensors(`${FOLDER}/${method}.safetensors`);
      assert.deepEqual([...ours.keys()].sort(), [...golden.keys()].sort());
      for (const [module, tensor] of golden) {
        const theirs = valuesOf(tensor);
        const worst = (ours.get(module) ?? new Float64Array()).reduce((most, x, i) => Math.max(most, Math.abs(x - (theirs[i] ?? Number.NaN))), 0);
        assert.ok(worst < 1e-5, `${module}: ${worst}`);
      }
    });
  }
});

describe("Adapters added up exactly", () => {
  async function combined(adapters: readonly string[], factors: readonly number[], method: Combination = "exact", rank?: number) {
    const out = join(temporaryFolder(), "out");
    const result = await combineAdapters({ adapters, weights: factors, method, out, rank });
    return { result, changes: await deltas(out) };
  }
  const distance = (x: Float64Array | undefined, y: (i: number) => number) =>
    (x ?? Float64Array.of(Number.NaN)).reduce((most, value, i) => Math.max(most, Math.abs(value - y(i))), 0);

  it("are the weighted sum of their changes, whatever the order, with nothing lost", async () => {
    const single = await Promise.all(ADAPTERS.map(deltas));
    for (const order of [
      [0, 1, 2],
      [2, 0, 1],
    ]) {
      const { result, changes } = await combined(
        order.map((i) => ADAPTERS[i] ?? ""),
        order.map((i) => weights[i] ?? 0),
      );
      assert.equal(result.largestError, 0);
      for (const [module, change] of changes) {
        const sum = (i: number) => single.reduce((total, delta, k) => total + (weights[k] ?? 0) * (delta.get(module)?.[i] ?? 0), 0);
        assert.ok(distance(change, sum) < 1e-6, module);
      }
    }
  });

  for (const name of ["lora", "rslora", "patterns", "layer-one"]) {
    it(`are one adapter itself at weight one: ${name}`, async () => {
      const path = `test/fixtures/oracles/peft/${name}`;
      const { changes } = await combined([path], [1]);
      for (const [module, change] of await deltas(path)) assert.ok(distance(changes.get(module), (i) => change[i] ?? Number.NaN) < 1e-6, module);
    });
  }

  it("cancel out at weights one and minus one, also at a lower rank", async () => {
    const [a = ""] = ADAPTERS;
    for (const rank of [undefined, 2]) {
      const { changes } = await combined([a, a], [1, -1], "exact", rank);
      for (const change of changes.values()) assert.ok(distance(change, () => 0) < 1e-7);
    }
  });

  it("tell what a lower rank loses", async () => {
    const { result, changes } = await combined(ADAPTERS, weights, "exact", 3);
    const whole = await combined(ADAPTERS, weights);
    for (const { module, relativeError, rank } of result.modules) {
      const [cut, full] = [changes.get(module) ?? new Float64Array(), whole.changes.get(module) ?? new Float64Array()];
      const error = Math.hypot(...cut.map((x, i) => x - (full[i] ?? 0))) / Math.hypot(...full);
      assert.equal(rank, 3);
      assert.ok(Math.abs(error - relativeError) < 1e-6, `${module}: ${error} and ${relativeError}`);
      assert.ok(relativeError > 0.01);
    }
  });
});
