// Writes a PEFT adapter's folder tensor by tensor; it appears under its name when it is complete. Node only.
import { open, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { CONFIG, TENSORS } from "../adapters/peft-config.ts";
import { type Diagnostic, throwIfCancelled } from "../diagnostics.ts";
import { narrowFromFloat32 } from "../formats/dtype-codecs.ts";
import type { FloatDType } from "../formats/dtypes.ts";
import { layoutFile, type TensorSpec } from "../formats/safetensors-write.ts";
import { VERSION } from "../version.ts";
import { checkDiskSpace, checkOutput, JOURNAL_FILE, MANIFEST_FILE, type OutputRequest, openWorkFolder } from "./work-folder.ts";

export interface AdapterOutput extends OutputRequest {
  readonly tensors: readonly (TensorSpec & { readonly dtype: FloatDType })[];
  /** adapter_config.json; keys are sorted as PEFT sorts them. */
  readonly config: Readonly<Record<string, unknown>>;
  /** One paragraph for the model card. */
  readonly about: string;
  readonly signal: AbortSignal | undefined;
}

/** Stores the values of one of the tensors. */
export type WriteTensor = (name: string, values: ArrayLike<number>) => Promise<void>;

/**
 * @param fill writes every tensor once, in any order; what it returns is kept in weightsmith.json
 * @throws WeightsmithError `output-*`, `disk-space`, what `fill` throws
 */
export async function writeAdapterFolder(
  output: AdapterOutput,
  fill: (write: WriteTensor) => Promise<Readonly<Record<string, unknown>>>,
): Promise<readonly Diagnostic[]> {
  const layout = layoutFile(output.tensors);
  await checkOutput(output);
  await checkDiskSpace(output.out, layout.sizeBytes);
  // What an interrupted run has left is of no use to this one.
  const work = await openWorkFolder(output, () => false);
  try {
    await writeFile(join(work.path, JOURNAL_FILE), `${JSON.stringify({ weightsmith: VERSION, writes: "adapter" })}\n`);
    const report = await writeTensors(join(work.path, TENSORS), output, layout, fill);
    const config = Object.fromEntries(Object.entries(output.config).sort(([x], [y]) => (x < y ? -1 : 1)));
    await writeFile(join(work.path, CONFIG), `${JSON.stringify(config, undefined, 2)}\n`);
    await writeFile(join(work.path, "README.md"), modelCard(output));
    await writeFile(join(work.path, MANIFEST_FILE), `${JSON.stringify({ format: 1, weightsmith: VERSION, ...report }, undefined, 2)}\n`);
    return await work.finish();
  } finally {
    await work.release();
  }
}

async function writeTensors(
  file: string,
  { tensors, signal }: AdapterOutput,
  layout: ReturnType<typeof layoutFile>,
  fill: (write: WriteTensor) => Promise<Readonly<Record<string, unknown>>>,
): Promise<Readonly<Record<string, unknown>>> {
  const places = new Map(layout.tensors.map((range, i) => [range.name, { range, dtype: tensors[i]?.dtype ?? "F32" }]));
  const handle = await open(file, "w");
  try {
    await handle.write(layout.header, 0, layout.header.byteLength, 0);
    const report = await fill(async (name, values) => {
      throwIfCancelled(signal);
      const place = places.get(name);
      if (place === undefined) throw new Error(`tensor ${name} was not announced, or is written twice`);
      const bytes = narrowFromFloat32(place.dtype, Float32Array.from(values));
      if (bytes.byteLength !== place.range.end - place.range.begin)
        throw new RangeError(`tensor ${name} has ${values.length} values, which do not fill its shape`);
      await handle.write(bytes, 0, bytes.byteLength, place.range.begin);
      places.delete(name);
    });
    if (places.size > 0) throw new Error(`tensors were not written: ${[...places.keys()].slice(0, 3).join(", ")}`);
    return report;
  } finally {
    await handle.close();
  }
}

function modelCard({ config, about, out }: AdapterOutput): string {
  const base = config.base_model_name_or_path;
  const front = [...(typeof base === "string" ? [`base_model: ${JSON.stringify(base)}`] : []), "library_name: peft", "tags:", "- weightsmith"];
  return `---\n${front.join("\n")}\n---\n\n# ${basename(resolve(out))}\n\n${about}\n`;
}
