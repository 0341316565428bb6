// Files of every family: what was written is read back, and written again gives the same bytes.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { deltaOf, type ModuleTensor, type Settings } from "../../merge-core/adapters/family.ts";
import type { Start } from "../../merge-core/adapters/family-training.ts";
import { moduleSettings, readAdapter, sharedEntries } from "../../merge-core/adapters/read-adapter.ts";
import { type WrittenAdapter, writeAdapter } from "../../merge-core/adapters/write-adapter.ts";
import type { TensorEntry } from "../../merge-core/checkpoints/checkpoint.ts";
import { TensorReader } from "../../merge-core/checkpoints/tensor-reader.ts";
import { CASES, type FamilyCase, INPUTS, OUTPUTS, startCase } from "../helpers/family-table.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { testRandom } from "../helpers/tiny-decoder.ts";

/** The case as a training run would hand it over, with random numbers in what is trained. */
function toWrite(testCase: FamilyCase): WrittenAdapter {
  const { family, settings, sites, modules, shared } = startCase(testCase);
  const random = testRandom(8);
  const isTrained = new Set([...family.tensors, ...family.shared].filter(({ trained }) => trained).map(({ name }) => name));
  const drawn = (start: Start): Start =>
    Object.fromEntries(
      Object.entries(start).map(([name, { shape, values }]) => [name, { shape, values: isTrained.has(name) ? Float32Array.from(values, random) : values }]),
    );
  let held: Settings = settings;
  const stored = sites.map((site, i): [string, Start] => {
    const found = family.training?.stored?.(settings, { layer: site.layer, tensors: drawn(modules[i] ?? {}) });
    held = found?.settings ?? settings;
    return [site.module, found?.tensors ?? drawn(modules[i] ?? {})];
  });
  const kind = family.sharedBy === "kind" ? "q_proj" : "";
  const pools = family.shared.length === 0 ? [] : [[kind, drawn(shared)] as const];
  const more = family.training?.fileConfig?.(held, ["q_proj"]) ?? {};
  const rest = { targetModules: ["q_proj"], baseModel: "base", replacements: new Map<string, ModuleTensor>() };
  return { family, settings: held, more, modules: new Map(stored), shared: new Map(pools), ...rest };
}

async function read(entries: Readonly<Record<string, TensorEntry>>, reader: TensorReader): Promise<Start> {
  const found: [string, ModuleTensor][] = [];
  for (const [name, entry] of Object.entries(entries)) found.push([name, { shape: entry.shape, values: await reader.read(entry) }]);
  return Object.fromEntries(found);
}

describe("Adapter files", () => {
  for (const testCase of CASES) {
    for (const dtype of ["F32", "BF16"] as const)
      it(`give the same bytes when they are read and written again: ${testCase.name}, ${dtype}`, async () => {
        const written = toWrite(testCase);
        const [first, second] = [join(temporaryFolder(), "first"), join(temporaryFolder(), "second")];
        await writeAdapter(written, first, dtype);
        const adapter = await readAdapter(first);
        assert.equal(adapter.family, written.family);
        const reader = new TensorReader();
        const modules = new Map<string, Start>();
        const shared = new Map<string, Start>();
        for (const [module, entries] of adapter.modules) {
          modules.set(module, await read(entries, reader));
          if (written.shared.size > 0) shared.set([...written.shared.keys()][0] ?? "", await read(sharedEntries(adapter, module), reader));
        }
        await reader.close();
        const settings = moduleSettings(adapter, [...modules.keys()][0] ?? "");
        await writeAdapter({ ...written, settings, modules, shared }, second, dtype);
        for (const file of ["adapter_model.safetensors", "adapter_config.json"])
          assert.ok(readFileSync(join(first, file)).equals(readFileSync(join(second, file))), file);
      });
  }

  it("hold pools once, however many layers share them", async () => {
    const folder = join(temporaryFolder(), "mos");
    await writeAdapter(toWrite(CASES.find(({ name }) => name === "MoS") ?? assert.fail()), folder);
    const { shared, modules } = await readAdapter(folder);
    assert.deepEqual([Object.keys(shared).sort(), modules.size], [["mos_A.q_proj", "mos_B.q_proj"], 3]);
  });
});

describe("Families that are one another", () => {
  const { sites } = startCase(CASES[0] ?? assert.fail());
  const weight = sites[0]?.weight ?? [];
  const change = (name: string, settings: Settings, tensors: Record<string, ModuleTensor>) => {
    const { family } = startCase(CASES.find((c) => c.name === name) ?? assert.fail());
    const all = Object.fromEntries(family.settings.map((setting) => [setting.name, setting.default]));
    return deltaOf(family, { layer: { inFeatures: INPUTS, outFeatures: OUTPUTS }, settings: { ...all, ...settings }, tensors }, weight);
  };
  const random = testRandom(21);
  const values = (...shape: number[]) => ({ shape, values: Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, random) });
  const assertSame = (a: Float64Array, b: Float64Array) => {
    assert.ok(a.some((x) => Math.abs(x) > 0.1));
    for (const [i, x] of a.entries()) assert.ok(Math.abs(x - (b[i] ?? Number.NaN)) < 1e-12, `${i}: ${x} and ${b[i]}`);
  };

  it("HRA of one mirror is ETHER of one block", () => {
    const u = values(INPUTS, 1);
    assertSame(change("HRA", { r: 1 }, { hra_u: u }), change("ETHER", { n_blocks: 1 }, { ether_u: { ...u, shape: [INPUTS] } }));
  });

  it("MiSS is a LoRA whose A picks inputs", () => {
    const block = values(4, OUTPUTS);
    const a = Float64Array.from({ length: 4 * INPUTS }, (_, at) => ((at % INPUTS) % 4 === Math.floor(at / INPUTS) ? 1 : 0));
    const b = Float64Array.from({ length: OUTPUTS * 4 }, (_, at) => block.values[(at % 4) * OUTPUTS + Math.floor(at / 4)] ?? 0);
    const lora = { lora_A: { shape: [4, INPUTS], values: a }, lora_B: { shape: [OUTPUTS, 4], values: b } };
    assertSame(change("MiSS", { r: 4 }, { miss_block: block }), change("LoRA", { r: 4, lora_alpha: 4 }, lora));
  });

  it("a mixture of one Kronecker product is LoKr with both sides whole", () => {
    const [w1, w2] = [values(2, 2), values(4, 6)];
    const flat = ({ values: numbers }: ModuleTensor) => ({ shape: [numbers.length], values: numbers });
    const moka = { moka_A: flat(w1), moka_B: flat(w2), moka_gate: { shape: [1], values: [0.3] } };
    assertSame(change("MoKA", { factors: "2" }, moka), change("LoKr", { r: 9, alpha: 9, decompose_factor: 2 }, { lokr_w1: w1, lokr_w2: w2 }));
  });

  it("PSOFT without a rotation changes singular values alone", () => {
    const { family } = startCase(CASES.find((c) => c.name === "PSOFT") ?? assert.fail());
    const scales = { psoft_R: values(6), psoft_vector_a: values(4), psoft_vector_b: values(4) };
    const still = { ...scales, psoft_R: { shape: [6], values: new Float64Array(6) } };
    const delta = change("PSOFT", { r: 4 }, still);
    const { psoft_A, psoft_B } = family.derive?.(weight, { inFeatures: INPUTS, outFeatures: OUTPUTS }, { r: 4 }) ?? {};
    const expected = Float64Array.from(delta, (_, at) => {
      const [o, i] = [Math.floor(at / INPUTS), at % INPUTS];
      let sum = 0;
      for (let k = 0; k < 4; k++)
        sum +=
          (psoft_B?.values[o * 4 + k] ?? 0) *
          ((scales.psoft_vector_a.values[k] ?? 0) * (scales.psoft_vector_b.values[k] ?? 0) - 1) *
          (psoft_A?.values[k * INPUTS + i] ?? 0);
      return sum;
    });
    assertSame(delta, expected);
  });
});
