// Adds adapters of any family to single tensors on their way into a merge: row by row in float64, rounded to float32 once.
import type { AdapterModule, LayerShape, ModuleTensor, RowChange } from "../adapters/family.ts";
import { findFamily } from "../adapters/registry.ts";
import type { FamilyPatch, TensorSpan } from "../checkpoints/checkpoint.ts";
import { readFully } from "../compute/files.ts";
import type { ComputePool } from "../compute/pool.ts";
import { throwIfCancelled } from "../diagnostics.ts";
import { DTYPE_BYTES, elementCount } from "../formats/dtypes.ts";
import { readNumbers } from "../formats/read-numbers.ts";

/** Elements changed between turns of the event loop. */
const ELEMENTS_PER_TURN = 2 ** 20;

/** The adapted tensor as float32. */
export async function foldFamily(tensor: Omit<TensorSpan, "byteLength">, patch: FamilyPatch, pool: ComputePool, signal?: AbortSignal): Promise<Uint8Array> {
  const values = readSpan(tensor, pool);
  const out = new Float32Array(new SharedArrayBuffer(values.length * 4));
  if (tensor.shape.length === 1) foldBias(values, out, openModule(patch, { inFeatures: 0, outFeatures: values.length }, pool), patch);
  else await foldWeight(values, out, tensor.shape, patch, pool, signal);
  return new Uint8Array(out.buffer);
}

async function foldWeight(values: ArrayLike<number>, out: Float32Array, shape: readonly number[], patch: FamilyPatch, pool: ComputePool, signal?: AbortSignal) {
  const [rows = 0, columns = 0] = shape;
  const layer = patch.transposed ? { inFeatures: rows, outFeatures: columns } : { inFeatures: columns, outFeatures: rows };
  const change: RowChange = familyOf(patch).open(openModule(patch, layer, pool), () => byOutputs(values, layer, patch.transposed));
  const row = new Float64Array(layer.inFeatures);
  const [first, step] = patch.transposed ? [1, columns] : [columns, 1];
  const rowsPerTurn = Math.max(1, Math.floor(ELEMENTS_PER_TURN / Math.max(1, layer.inFeatures)));
  for (let o = 0; o < layer.outFeatures; o++) {
    for (let i = 0; i < row.length; i++) row[i] = values[o * first + i * step] as number;
    change(row, o);
    for (let i = 0; i < row.length; i++) out[o * first + i * step] = row[i] as number;
    if (o % rowsPerTurn !== 0) continue;
    throwIfCancelled(signal);
    await new Promise((resume) => setImmediate(resume));
  }
}

/** W [out, in] of the tensor as it is stored. */
function byOutputs(values: ArrayLike<number>, { inFeatures, outFeatures }: LayerShape, transposed: boolean): Float64Array {
  if (!transposed) return Float64Array.from(values);
  return Float64Array.from({ length: values.length }, (_, at) => values[(at % inFeatures) * outFeatures + Math.floor(at / inFeatures)] as number);
}

function foldBias(values: ArrayLike<number>, out: Float32Array, module: AdapterModule, patch: FamilyPatch): void {
  const family = familyOf(patch);
  const [factor, shift] = [family.biasFactor?.(module), family.biasShift?.(module)];
  for (let o = 0; o < out.length; o++) out[o] = (values[o] as number) * (factor?.[o] ?? 1) + (shift?.[o] ?? 0);
}

function familyOf({ family }: FamilyPatch) {
  const found = findFamily(family);
  if (found === undefined) throw new Error(`the plan names an unknown adapter family ${family}`);
  return found;
}

function openModule({ settings, tensors }: FamilyPatch, layer: LayerShape, pool: ComputePool): AdapterModule {
  const read = Object.entries(tensors).map(([name, span]): [string, ModuleTensor] => [name, { shape: span.shape, values: readSpan(span, pool) }]);
  return { layer, settings, tensors: Object.fromEntries(read) };
}

function readSpan({ file, offset, dtype, shape }: Omit<TensorSpan, "byteLength">, { files }: ComputePool): ArrayLike<number> {
  const bytes = new Uint8Array(elementCount(shape) * DTYPE_BYTES[dtype]);
  try {
    readFully(files.acquire(file, false), bytes, offset, file);
  } finally {
    files.release(file, false);
  }
  return readNumbers(dtype, bytes);
}
