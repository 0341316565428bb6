// What a killed run needs to go on as if nothing had happened: parameters, optimiser moments, step. Node only.
// Shuffles and dropout need no state: they are functions of seed and step.
import { open, readFile, rename } from "node:fs/promises";
import type * as tf from "@tensorflow/tfjs-core";
import { memorySource } from "../bytes/memory-source.ts";
import { inputError, type WeightsmithError } from "../diagnostics.ts";
import { narrowFromFloat32, widenToFloat32 } from "../formats/dtype-codecs.ts";
import { readHeader } from "../formats/safetensors.ts";
import { encodeSafetensors } from "../formats/safetensors-write.ts";
import { liveValues } from "../nn/storage.ts";
import type { StateArray } from "./optimisers/rule.ts";

interface RunState {
  readonly parameters: ReadonlyMap<string, tf.Tensor>;
  /** What the optimiser keeps, by name. */
  readonly optimizer?: ReadonlyMap<string, StateArray>;
  /** Numbers that steps change beside the parameters, by name. */
  readonly memory?: ReadonlyMap<string, Float32Array>;
}

/** What computes unless something else is asked for. */
export const BUILT_IN = "cpu";

/** From which step on something computed. */
export interface EngineSpan {
  readonly engine: string;
  readonly from: number;
}

/** Every array of the state under a name of its own; the arrays are the live ones. */
function arraysOf({ parameters, optimizer = new Map(), memory = new Map() }: RunState): Map<string, StateArray> {
  const named = (kind: string, tensors: ReadonlyMap<string, tf.Tensor>) =>
    [...tensors].map(([name, tensor]) => [`${kind}/${name}`, liveValues(tensor)] as const);
  return new Map<string, StateArray>([
    ...named("parameter", parameters),
    ...optimizer,
    ...[...memory].map(([name, values]) => [`memory/${name}`, values] as const),
  ]);
}

/** One file, written beside and renamed, so that a kill at any moment leaves the old state or the new one. */
export async function saveState(
  file: string,
  state: RunState,
  step: number,
  { fingerprint, engines }: { readonly fingerprint: string; readonly engines: readonly EngineSpan[] },
): Promise<void> {
  const tensors = [...arraysOf(state)].map(([name, values]) => ({
    name,
    dtype: values instanceof Uint8Array ? ("U8" as const) : ("F32" as const),
    shape: [values.length],
    data: values instanceof Uint8Array ? values : narrowFromFloat32("F32", values),
  }));
  const handle = await open(`${file}.new`, "w");
  try {
    await handle.writeFile(encodeSafetensors(tensors, { step: String(step), fingerprint, engines: JSON.stringify(engines) }));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.new`, file);
}

/**
 * Puts a saved state into the live arrays and tells its step, 0 if there is none, and what computed it.
 * @throws WeightsmithError `resume-other-run` if the state was saved with another config, model or data, or on what goes on only there
 */
export async function restoreState(
  file: string,
  state: RunState,
  { fingerprint, engine }: { readonly fingerprint: string; readonly engine: string },
): Promise<{ step: number; engines: readonly EngineSpan[] }> {
  const bytes = await readFile(file).catch(() => undefined);
  if (bytes === undefined) return { step: 0, engines: [] };
  const header = await readHeader(memorySource(bytes, file));
  if (header.metadata.fingerprint !== fingerprint) throw otherRun(file, "config, model or data");
  const engines: EngineSpan[] = JSON.parse(header.metadata.engines ?? JSON.stringify([{ engine: BUILT_IN, from: 1 }]));
  // Another engine rounds otherwise. The built-in one is always there: it takes up what a device or a library has begun and cannot end.
  if (engine !== BUILT_IN && !engines.some((span) => span.engine === engine)) throw otherRun(file, "--device");
  const arrays = arraysOf(state);
  for (const { name, dtype, begin, end } of header.tensors)
    arrays.get(name)?.set(dtype === "U8" ? bytes.subarray(begin, end) : widenToFloat32("F32", bytes.subarray(begin, end)));
  return { step: Number(header.metadata.step), engines };
}

function otherRun(file: string, what: string): WeightsmithError {
  return inputError("resume-other-run", `an unfinished run with another ${what} lies in the output's place`, {
    file,
    remedy: "remove it, or start with --overwrite",
  });
}
