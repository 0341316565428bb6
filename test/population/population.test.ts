// The space of a population of adapters against numpy, and laws that hold without it.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readAdapter } from "../../merge-core/adapters/read-adapter.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { widenToFloat32 } from "../../merge-core/formats/dtype-codecs.ts";
import type { FloatDType } from "../../merge-core/formats/dtypes.ts";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { readTensors } from "../../merge-core/nn/model.ts";
import { direction, moved, project, samplePoint, writePoint } from "../../merge-core/population/edit.ts";
import { fitPopulation } from "../../merge-core/population/fit.ts";
import { openSpace, type Space } from "../../merge-core/population/space.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor } from "../helpers/models.ts";
import { testRandom } from "../helpers/tiny-decoder.ts";

interface Golden {
  members: Record<"a" | "b", number[]>[];
  labels: number[];
  others: number[];
  singular: number[];
  explained: number[];
  points: number[][];
  direction: number[];
  spread: number;
  clean: number[];
  edited: number[];
  first_two: number[];
}

const golden: Golden = JSON.parse(readFileSync("test/fixtures/oracles/population/golden.json", "utf8"));
const MODULE = "base_model.model.layers.0.q_proj";

/** A LoRA of rank 2 on a layer of 5 inputs and 4 outputs. */
function writeLora(a: ArrayLike<number>, b: ArrayLike<number>, changes: Readonly<Record<string, unknown>> = {}): string {
  const folder = join(temporaryFolder(), "lora");
  mkdirSync(folder);
  const config = { peft_type: "LORA", r: 2, lora_alpha: 4, target_modules: ["q_proj"], base_model_name_or_path: "base", ...changes };
  writeFileSync(join(folder, "adapter_config.json"), JSON.stringify(config));
  const tensors = [floatTensor(`${MODULE}.lora_A.weight`, [2, 5], Float32Array.from(a)), floatTensor(`${MODULE}.lora_B.weight`, [4, 2], Float32Array.from(b))];
  writeFileSync(join(folder, "adapter_model.safetensors"), encodeSafetensors(tensors));
  return folder;
}

const population = (): string[] => golden.members.map(({ a, b }) => writeLora(a, b));

async function fitted(adapters: readonly string[], options: { components?: number; canonical?: boolean } = {}): Promise<Space> {
  const out = join(temporaryFolder(), "space");
  await fitPopulation({ adapters, out, ...options });
  const space = await openSpace(out);
  opened.push(space);
  return space;
}

const opened: Space[] = [];

async function weights(folder: string): Promise<number[]> {
  const tensors = await readTensors(await openCheckpoint(join(folder, "adapter_model.safetensors")));
  return ["A", "B"].flatMap((side) => {
    const { dtype, data } = tensors.get(`${MODULE}.lora_${side}.weight`) as { dtype: FloatDType; data: Uint8Array };
    return [...widenToFloat32(dtype, data)];
  });
}

function near(found: ArrayLike<number>, expected: ArrayLike<number>, tolerance = 1e-5): void {
  assert.equal(found.length, expected.length);
  for (let i = 0; i < found.length; i++)
    assert.ok(Math.abs((found[i] as number) - (expected[i] as number)) <= tolerance, `${i}: ${found[i]} for ${expected[i]}`);
}

const written = async (space: Space, point: Float64Array, rest?: { adapter: string; from: Float64Array }): Promise<string> => {
  const out = join(temporaryFolder(), "adapter");
  await writePoint(space, point, { out, about: "A test.", report: {}, rest });
  return out;
};

describe("population", () => {
  afterEach(async () => {
    for (const space of opened.splice(0)) await space.close();
  });

  it("has numpy's singular values, shares and coordinates", async () => {
    const space = await fitted(population());
    near(space.singular, golden.singular);
    near(space.explained, golden.explained);
    near(space.coordinates, golden.points.flat());
  });

  it("brings its members back, and the first components as numpy has them", async () => {
    const adapters = population();
    const space = await fitted(adapters);
    for (const [m, adapter] of adapters.entries()) {
      const { point, residual } = await project(space, adapter);
      near(point, golden.points[m] ?? []);
      assert.ok(residual < 1e-3);
      near(await weights(await written(space, point)), await weights(adapter));
    }
    const two = await fitted(adapters, { components: 2 });
    const { point, residual } = await project(two, adapters[3] ?? "");
    assert.ok(residual > 0.1 && residual < 1);
    near(await weights(await written(two, point)), golden.first_two);
    near(await weights(await written(two, point, { adapter: adapters[3] ?? "", from: point })), await weights(adapters[3] ?? ""), 1e-7);
  });

  it("edits along labels, and away from others, as the pseudoinverse says", async () => {
    const adapters = population();
    const space = await fitted(adapters);
    const along = direction(space, golden.labels);
    near(along.unit, golden.direction);
    near([along.spread], [golden.spread]);
    near(direction(space, golden.labels, { away: direction(space, golden.others) }).unit, golden.clean);
    const { point } = await project(space, adapters[2] ?? "");
    const out = await written(space, moved(point, along, 1.5));
    near(await weights(out), golden.edited);
    assert.equal((await readAdapter(out)).modules.size, 1);
    near(moved(moved(point, along, 2), along, -2), point, 1e-12);
    await rejectsWith("population-no-direction", () => direction(space, golden.labels, { away: along }));
  });

  it("draws points that depend on the seed alone and spread as the members do", async () => {
    const space = await fitted(population());
    assert.deepEqual(samplePoint(space, 3), samplePoint(space, 3));
    assert.notDeepEqual(samplePoint(space, 3), samplePoint(space, 4));
    const first = Array.from({ length: 2000 }, (_, seed) => samplePoint(space, seed)[0] ?? 0);
    const deviation = Math.sqrt(first.reduce((sum, x) => sum + x * x, 0) / first.length);
    const expected = Math.sqrt(golden.points.reduce((sum, [x = 0]) => sum + x * x, 0) / 5);
    assert.ok(Math.abs(deviation / expected - 1) < 0.06, `${deviation} ${expected}`);
    near(samplePoint(space, 3, 0), new Float64Array(5), 1e-6);
  });

  it("sees through factors that were turned, with canonical", async () => {
    const random = testRandom(5);
    const turn = ({ a, b }: Golden["members"][number], angle: number): string => {
      const [c, s] = [Math.cos(angle), Math.sin(angle)];
      const rows = a.map((_, i) => (i < 5 ? c * (a[i] ?? 0) + s * (a[i + 5] ?? 0) : c * (a[i] ?? 0) - s * (a[i - 5] ?? 0)));
      const columns = b.map((_, i) => (i % 2 === 0 ? c * (b[i] ?? 0) + s * (b[i + 1] ?? 0) : c * (b[i] ?? 0) - s * (b[i - 1] ?? 0)));
      return writeLora(rows, columns);
    };
    const turned = golden.members.map((member) => turn(member, 3 * random()));
    const [plain, same] = [await fitted(population(), { canonical: true }), await fitted(turned, { canonical: true })];
    near(same.singular, plain.singular, 1e-3);
    near((await project(plain, turned[1] ?? "")).point, plain.coordinates.subarray(5, 10), 1e-2);
    const other = await fitted(turned);
    assert.ok(Math.abs((other.singular[0] ?? 0) - (golden.singular[0] ?? 0)) > 1e-2, "without it they are another population");
  });

  it("refuses members that do not belong together", async () => {
    const adapters = population();
    const { a, b } = golden.members[0] as Golden["members"][number];
    const out = () => join(temporaryFolder(), "space");
    await rejectsWith("population-member-differs", () => fitPopulation({ adapters: [...adapters, writeLora(a, b, { lora_alpha: 8 })], out: out() }));
    await rejectsWith("population-too-small", () => fitPopulation({ adapters: adapters.slice(0, 2), out: out() }));
    await rejectsWith("population-alike", () => fitPopulation({ adapters: [adapters[0] ?? "", adapters[0] ?? "", adapters[0] ?? ""], out: out() }));
    await rejectsWith("non-finite", () => fitPopulation({ adapters: [...adapters, writeLora([Number.NaN, ...a.slice(1)], b)], out: out() }));
    const folder = temporaryFolder();
    writeFileSync(join(folder, "space.json"), "{}");
    await rejectsWith("population-invalid", () => openSpace(folder));
  });
});
