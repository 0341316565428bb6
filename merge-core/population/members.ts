// Adapters of one shape, read as rows of numbers: the population whose weights make up a space (weights2weights: Dravid et al. 2024, 2406.09413).
import { join } from "node:path";
import { reduceRank } from "../adapters/low-rank.ts";
import { CONFIG, readAdapterConfig, TENSORS } from "../adapters/peft-config.ts";
import type { TensorEntry } from "../checkpoints/checkpoint.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import type { TensorReader } from "../checkpoints/tensor-reader.ts";
import { inputError } from "../diagnostics.ts";
import { elementCount, type FloatDType, isFloat } from "../formats/dtypes.ts";

/** A tensor that every member has. */
export interface Slot {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: FloatDType;
}

export interface Member {
  readonly path: string;
  readonly file: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

/** Settings that change what an adapter's tensors mean. */
const DECISIVE = ["peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out"];

/** @throws WeightsmithError `file-missing`, `adapter-config-invalid`, `population-unsupported` */
export async function openMember(path: string): Promise<Member> {
  const file = join(path, TENSORS);
  const config = await readAdapterConfig(join(path, CONFIG));
  const { tensors } = await openCheckpoint(file);
  const strange = [...tensors.values()].find(({ dtype }) => !isFloat(dtype));
  if (strange === undefined) return { path, file, config, tensors };
  throw inputError("population-unsupported", `tensor ${strange.name} holds no floating-point numbers`, { file, found: strange.dtype });
}

/** Names in their fixed order. */
export const slotsOf = ({ tensors }: Member): Slot[] =>
  [...tensors.values()].sort((x, y) => (x.name < y.name ? -1 : 1)).map(({ name, shape, dtype }) => ({ name, shape, dtype: dtype as FloatDType }));

/** @throws WeightsmithError `population-member-differs` unless a member has the slots and settings of the others */
export function checkMember(member: Member, slots: readonly Slot[], config: Readonly<Record<string, unknown>>): void {
  const differs = (what: string, found: string, expected: string) =>
    inputError("population-member-differs", `the adapter's ${what} is not that of the population`, { file: member.path, found, expected });
  for (const key of DECISIVE) {
    const [own, others] = [member.config, config].map((json) => JSON.stringify(json[key] ?? null));
    if (own !== others) throw differs(key, own ?? "", others ?? "");
  }
  for (const { name, shape } of slots)
    if (member.tensors.get(name)?.shape.join() !== shape.join())
      throw differs(`tensor ${name}`, member.tensors.get(name)?.shape.join(" x ") ?? "no such tensor", shape.join(" x "));
  if (member.tensors.size !== slots.length) throw differs("list of tensors", `${member.tensors.size} tensors`, `${slots.length} tensors`);
}

const FACTOR = /\.lora_(A|B)(\.default)?\.weight$/;

/**
 * A member's values of one slot. With `canonical`, factors of a LoRA are replaced by those of the singular value decomposition of their product,
 * B = U sqrt(S), A = sqrt(S) V^T, the largest element of each column of U positive: B A does not tell its factors apart from (B R)(R^-1 A).
 */
export async function readSlot(member: Member, { name }: Slot, reader: TensorReader, canonical: boolean): Promise<Float32Array> {
  const own = member.tensors.get(name) as TensorEntry;
  const values = Float32Array.from(await reader.read(own));
  if (!values.every(Number.isFinite)) throw inputError("non-finite", `${name} holds NaN or infinite values`, { file: member.path });
  const [, side] = FACTOR.exec(name) ?? [];
  const other = member.tensors.get(name.replace(FACTOR, (all) => all.replace(/lora_./, side === "A" ? "lora_B" : "lora_A")));
  if (!canonical || side === undefined || other === undefined) return values;
  const partner = Float32Array.from(await reader.read(other));
  return side === "A" ? canonicalFactor(values, own.shape, partner, other.shape, "A") : canonicalFactor(partner, other.shape, values, own.shape, "B");
}

function canonicalFactor(
  a: Float32Array,
  [rank = 0, inputs = 0]: readonly number[],
  b: Float32Array,
  [outputs = 0]: readonly number[],
  side: "A" | "B",
): Float32Array {
  const bt = Float64Array.from({ length: rank * outputs }, (_, at) => b[(at % outputs) * rank + Math.floor(at / outputs)] as number);
  // From inner products of the factors' rows: the product itself may be large.
  const found = reduceRank({ r: rank, inFeatures: inputs, outFeatures: outputs, a: new Float64Array(a), bt }, rank);
  const result = new Float32Array(side === "A" ? a.length : b.length);
  for (let k = 0; k < rank; k++) {
    const left = found.bt.subarray(k * outputs, (k + 1) * outputs);
    const value = Math.sqrt(left.reduce((sum, x) => sum + x * x, 0));
    if (value === 0) break;
    const largest = left.reduce((most, x) => (Math.abs(x) > Math.abs(most) ? x : most), 0);
    const scale = Math.sqrt(value) * (largest < 0 ? -1 : 1);
    if (side === "A") for (let j = 0; j < inputs; j++) result[k * inputs + j] = scale * (found.a[k * inputs + j] as number);
    else for (let i = 0; i < outputs; i++) result[i * rank + k] = (scale / value) * (left[i] as number);
  }
  return result;
}

export const sizeOf = ({ shape }: Slot): number => elementCount(shape);
