// Orthogonal adapters composed into one, against folding them one after another.
import assert from "node:assert/strict";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { planMerge } from "../../merge-core/plan/plan-merge.ts";
import { parseRecipe } from "../../merge-core/recipe/parse-recipe.ts";
import { type CombineRequest, combineAdapters } from "../../merge-core/run/combine-adapters.ts";
import { runMerge } from "../../merge-core/run/execute.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor } from "../helpers/models.ts";
import { readTensors, valuesOf } from "../oracles/read-tensors.ts";

const ORACLES = "test/fixtures/oracles";
const BASE = `${ORACLES}/llama-tiny`;
const of = (name: string) => `${ORACLES}/peft-families/${name}`;

const composed = (adapters: readonly string[], changes: Partial<CombineRequest> = {}) =>
  combineAdapters({ adapters, weights: adapters.map(() => 1), method: "compose", out: join(temporaryFolder(), "out"), ...changes });

/** The adapter with other values, settings and modules. */
async function changed(
  adapter: string,
  change: (x: number, i: number, values: Float32Array, shape: readonly number[]) => number,
  { config = {}, keep = () => true }: { config?: Readonly<Record<string, unknown>>; keep?: (name: string) => boolean } = {},
): Promise<string> {
  const folder = join(temporaryFolder(), "adapter");
  cpSync(adapter, folder, { recursive: true });
  const tensors = [...(await readTensors(join(adapter, "adapter_model.safetensors")))].filter(([name]) => keep(name));
  const values = tensors.map(([name, tensor]) => {
    const before = valuesOf(tensor);
    return floatTensor(
      name,
      tensor.shape,
      before.map((x, i) => change(x, i, before, tensor.shape)),
    );
  });
  writeFileSync(join(folder, "adapter_model.safetensors"), encodeSafetensors(values));
  const file = join(folder, "adapter_config.json");
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), ...config }));
  return folder;
}

/** The folder of a model with adapters folded into it, one after another. */
async function folded(...adapters: readonly string[]): Promise<string> {
  let model = BASE;
  for (const adapter of adapters) {
    const text = JSON.stringify({ merge_method: "passthrough", models: [{ model: { model: { path: model }, lora: { path: adapter } } }], dtype: "float32" });
    const { recipe } = parseRecipe(text, "recipe.yml");
    assert.ok(recipe);
    const { plan, diagnostics } = await planMerge(recipe, modelOpener("recipe.yml"));
    assert.ok(plan, JSON.stringify(diagnostics));
    model = join(temporaryFolder(), "out");
    await runMerge(plan, { out: model, threads: 1 });
  }
  return model;
}

async function distance(one: string, other: string): Promise<number> {
  const [a, b] = [await readTensors(join(one, "model.safetensors")), await readTensors(join(other, "model.safetensors"))];
  assert.deepEqual([...a.keys()].sort(), [...b.keys()].sort());
  let largest = 0;
  for (const [name, tensor] of a) {
    const theirs = valuesOf(b.get(name) ?? tensor);
    for (const [i, x] of valuesOf(tensor).entries()) largest = Math.max(largest, Math.abs(x - (theirs[i] ?? Number.NaN)));
  }
  return largest;
}

const shifted = (x: number, i: number) => 0.7 * x + 0.1 * Math.sin(i);
/** Sums of three rounded folds. */
const TOLERANCE = 1e-6;

describe("composed adapters", () => {
  for (const name of ["oft-exact", "oft-shared", "hra", "hra-gs"]) {
    // A series is no turn: OFT's are made by the exact transform here.
    const exact = name.startsWith("oft") ? { config: { use_cayley_neumann: false } } : {};
    it(`do what they do one after another, in their order: ${name}`, async () => {
      const [first, second] = [await changed(of(name), (x) => x, exact), await changed(of(name), shifted, exact)];
      const both = await composed([first, second]);
      assert.ok(both.largestError < 1e-6, String(both.largestError));
      const inOrder = await folded(first, second);
      assert.ok((await distance(await folded(both.out), inOrder)) < TOLERANCE);
      assert.ok((await distance(await folded(second, first), inOrder)) > 1e-3);
    });

    it(`of one are that one: ${name}`, async () => {
      const only = await changed(of(name), (x) => x, exact);
      assert.ok((await distance(await folded((await composed([only])).out), await folded(only))) < TOLERANCE);
    });

    it(`with what undoes them are none: ${name}`, async () => {
      const there = await changed(of(name), (x) => x, exact);
      const inverse = (x: number, i: number, values: Float32Array, shape: readonly number[]) => {
        const r = shape[1] ?? 0;
        // Q of the other sign; mirrors in the opposite order, which for orthogonal ones changes nothing.
        return name.startsWith("oft") ? -x : (values[i - (i % r) + (r - 1 - (i % r))] ?? 0);
      };
      const back = await changed(of(name), inverse, exact);
      assert.ok((await distance(await folded((await composed([there, back])).out), BASE)) < TOLERANCE);
    });
  }

  it("leave to one adapter alone the modules that the other lacks", async () => {
    for (const name of ["oft-exact", "hra"]) {
      const partial = await changed(of(name), shifted, { keep: (tensor) => tensor.includes("layers.1") });
      const both = await composed([of(name), partial]);
      assert.ok((await distance(await folded(both.out), await folded(of(name), partial))) < TOLERANCE);
    }
  });

  it("tell how far a series is from a turn", async () => {
    const { largestError, out } = await composed([of("oft"), of("oft")]);
    assert.ok(largestError > 1e-4 && largestError < 1, String(largestError));
    assert.equal(JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8")).use_cayley_neumann, false);
  });

  it("are refused where they have no product", async () => {
    const odd = await changed(of("hra"), (x) => x, { config: { r: 3 } });
    const partial = await changed(of("oft-exact"), (x) => x, { keep: (tensor) => tensor.includes("layers.1") });
    await rejectsWith("adapter-family-unlike", () => composed([of("oft"), of("hra")]));
    await rejectsWith("adapter-family-unlike", () => composed([of("loha")]));
    await rejectsWith("adapter-settings-differ", () => composed([of("oft"), of("oft-exact")]));
    await rejectsWith("adapter-shape-mismatch", () => composed([of("hra"), odd]));
    await rejectsWith("usage", () => composed([of("hra"), of("hra")], { weights: [0.5, 0.5] }));
    await rejectsWith("usage", () => composed([partial, of("oft-exact")], { rank: 4 }));
  });
});
