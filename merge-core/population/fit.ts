// Principal components of a population of adapters, by the Gram matrix of its members: members are few, weights are many.
import { setImmediate } from "node:timers/promises";
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import { gramOf } from "../compute/linalg/gram.ts";
import { inTurns, turns } from "../compute/linalg/steps.ts";
import { type SymmetricEigen, symmetricEigenSteps } from "../compute/linalg/symmetric-eigen.ts";
import { inputError, throwIfCancelled } from "../diagnostics.ts";
import { checkMember, type Member, openMember, readSlot, type Slot, sizeOf, slotsOf } from "./members.ts";
import { type SlotSpace, type SpaceFacts, writeSpace } from "./space.ts";

export interface FitRequest {
  readonly adapters: readonly string[];
  readonly out: string;
  /** At most one less than there are members, the default. */
  readonly components?: number | undefined;
  /** Bring factors into the form of their product's decomposition first, for members that did not start from the same factors. */
  readonly canonical?: boolean;
  readonly overwrite?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number, tensor: string) => void) | undefined;
}

/** Components whose variance is below this share of the first one's are rounding. */
const LEAST_VARIANCE = 1e-10;

/** @throws WeightsmithError `population-*`, `non-finite`, `output-*`, `cancelled` */
export async function fitPopulation(request: FitRequest): Promise<SpaceFacts & { readonly out: string }> {
  const { adapters, out, canonical = false, signal, onProgress } = request;
  const members: Member[] = [];
  for (const path of adapters) members.push(await openMember(path));
  const [first] = members;
  if (first === undefined || members.length < 3)
    throw inputError("population-too-small", "too few adapters for a space", { found: String(members.length), expected: "three or more" });
  const slots = slotsOf(first);
  for (const member of members) checkMember(member, slots, first.config);
  const reader = new TensorReader();
  const rows = async (slot: Slot): Promise<Standardised> => {
    throwIfCancelled(signal);
    await setImmediate();
    const values: Float32Array[] = [];
    for (const member of members) values.push(await readSlot(member, slot, reader, canonical));
    return standardise(values);
  };
  try {
    let done = 0;
    const report = (slot: Slot) => onProgress?.(done++, 2 * slots.length, slot.name);
    const gram = new Float64Array(members.length ** 2);
    for (const slot of slots) {
      report(slot);
      const part = gramOf((await rows(slot)).rows, members.length, sizeOf(slot));
      for (let i = 0; i < gram.length; i++) gram[i] = (gram[i] as number) + (part[i] as number);
    }
    const eigen = await inTurns(symmetricEigenSteps(gram, members.length), turns(signal));
    const count = countOf(eigen, members.length, request.components);
    const singular = Array.from(eigen.values.slice(0, count), Math.sqrt);
    const total = eigen.values.reduce((sum, value) => sum + Math.max(0, value), 0);
    const explained = singular.map((s) => s ** 2 / total);
    const left = signed(eigen, members.length, count);
    const facts = { members: [...adapters], config: first.config, slots, canonical, singular, explained };
    // Row m of U S: the members in the space.
    const coordinates = Float64Array.from({ length: members.length * count }, (_, at) => {
      const [m, k] = [Math.floor(at / count), at % count];
      return (left[k * members.length + m] as number) * (singular[k] as number);
    });
    const inputs = members.map(({ file }) => file);
    const parts = async (slot: Slot): Promise<SlotSpace> => {
      report(slot);
      return componentsOf(await rows(slot), left, singular);
    };
    await writeSpace(facts, coordinates, parts, { out, overwrite: request.overwrite ?? false, inputs });
    return { ...facts, out };
  } finally {
    await reader.close();
  }
}

interface Standardised {
  /** [members, size] */
  readonly rows: Float64Array;
  readonly mean: Float64Array;
  readonly std: Float64Array;
}

/** Each coordinate to mean 0 and sample standard deviation 1; to 0 where all agree. */
function standardise(values: readonly Float32Array[]): Standardised {
  const [members, size] = [values.length, values[0]?.length ?? 0];
  const [mean, std] = [new Float64Array(size), new Float64Array(size)];
  for (const own of values) for (let i = 0; i < size; i++) mean[i] = (mean[i] as number) + (own[i] as number) / members;
  for (const own of values) for (let i = 0; i < size; i++) std[i] = (std[i] as number) + ((own[i] as number) - (mean[i] as number)) ** 2 / (members - 1);
  const rows = new Float64Array(members * size);
  for (let i = 0; i < size; i++) {
    const same = values.every((own) => own[i] === values[0]?.[i]);
    std[i] = same ? 0 : Math.sqrt(std[i] as number);
    for (let m = 0; !same && m < members; m++) rows[m * size + i] = ((values[m]?.[i] as number) - (mean[i] as number)) / (std[i] as number);
  }
  return { rows, mean, std };
}

function countOf({ values }: SymmetricEigen, members: number, asked: number | undefined): number {
  const largest = values[0] ?? 0;
  if (!(largest > 0)) throw inputError("population-alike", "all members of the population are the same", { expected: "adapters that differ" });
  const meaningful = values.slice(0, members - 1).filter((value) => value > LEAST_VARIANCE * largest).length;
  return Math.min(asked ?? meaningful, meaningful);
}

/** Eigenvectors as rows, the largest element of each positive, so that directions do not hang on chance. */
function signed({ vectors }: SymmetricEigen, members: number, count: number): Float64Array {
  const result = vectors.slice(0, count * members);
  for (let k = 0; k < count; k++) {
    const own = result.subarray(k * members, (k + 1) * members);
    const largest = own.reduce((most, x) => (Math.abs(x) > Math.abs(most) ? x : most), 0);
    if (largest < 0) for (let m = 0; m < members; m++) own[m] = -(own[m] as number);
  }
  return result;
}

/** V^T = S^-1 U^T Z. */
function componentsOf({ rows, mean, std }: Standardised, left: Float64Array, singular: readonly number[]): SlotSpace {
  const size = mean.length;
  const members = rows.length / Math.max(1, size);
  const components = new Float32Array(singular.length * size);
  for (const [k, s] of singular.entries()) {
    const sum = new Float64Array(size);
    for (let m = 0; m < members; m++) {
      const weight = (left[k * members + m] as number) / s;
      for (let i = 0; i < size; i++) sum[i] = (sum[i] as number) + weight * (rows[m * size + i] as number);
    }
    components.set(sum, k * size);
  }
  return { mean: Float32Array.from(mean), std: Float32Array.from(std), components };
}
