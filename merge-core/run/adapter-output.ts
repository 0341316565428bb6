// Writes a PEFT adapter's folder tensor by tensor; it appears under its name when it is complete. Node only.
import { type FileHandle, open, rm, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { CONFIG, TENSORS } from "../adapters/peft-config.ts";
import { type Diagnostic, throwIfCancelled } from "../diagnostics.ts";
import { narrowFromFloat32 } from "../formats/dtype-codecs.ts";
import { elementCount, type FloatDType } from "../formats/dtypes.ts";
import { layoutFile, type TensorSpec } from "../formats/safetensors-write.ts";
import { VERSION } from "../version.ts";
import { checkDiskSpace, checkOutput, JOURNAL_FILE, MANIFEST_FILE, type OutputRequest, openWorkFolder } from "./work-folder.ts";

export interface AdapterOutput extends OutputRequest {
  /** At most this many bytes of tensors will be written. */
  readonly maxBytes: number;
  /** All tensors in the order in which they are written, where that is known before: then each goes straight to its place. */
  readonly tensors?: readonly AdapterTensor[];
  readonly signal: AbortSignal | undefined;
}

/** Numbers, or bytes as they are. */
export type AdapterTensor = TensorSpec & { readonly dtype: FloatDType | "U8" };
/** Stores a tensor behind those before it. */
export type WriteTensor = (tensor: AdapterTensor, values: ArrayLike<number>) => Promise<void>;

export interface AdapterDescription {
  /** adapter_config.json; keys are sorted as PEFT sorts them. */
  readonly config: Readonly<Record<string, unknown>>;
  /** One paragraph for the model card. */
  readonly about: string;
  /** Kept in weightsmith.json. */
  readonly report: Readonly<Record<string, unknown>>;
}

/** Holds the tensors where their sizes are told one by one, until all their names and shapes, and so the header before them, are known. */
const DATA_FILE = "tensors.data";
const COPY_BYTES = 4 * 2 ** 20;

/**
 * @param fill writes the tensors and says what they are
 * @throws WeightsmithError `output-*`, `disk-space`, what `fill` throws
 */
export async function writeAdapterFolder(output: AdapterOutput, fill: (write: WriteTensor) => Promise<AdapterDescription>): Promise<readonly Diagnostic[]> {
  await checkOutput(output);
  await checkDiskSpace(output.out, (output.tensors === undefined ? 2 : 1) * output.maxBytes);
  // What an interrupted run has left is of no use to this one.
  const work = await openWorkFolder(output, () => false);
  try {
    await writeFile(join(work.path, JOURNAL_FILE), `${JSON.stringify({ weightsmith: VERSION, writes: "adapter" })}\n`);
    const { config, about, report } = await writeTensors(work.path, output, fill);
    const sorted = Object.fromEntries(Object.entries(config).sort(([x], [y]) => (x < y ? -1 : 1)));
    await writeFile(join(work.path, CONFIG), `${JSON.stringify(sorted, undefined, 2)}\n`);
    await writeFile(join(work.path, "README.md"), modelCard(config, about, output.out));
    await writeFile(join(work.path, MANIFEST_FILE), `${JSON.stringify({ format: 1, weightsmith: VERSION, ...report }, undefined, 2)}\n`);
    return await work.finish();
  } catch (error) {
    await work.drop();
    throw error;
  } finally {
    await work.release();
  }
}

async function writeTensors(folder: string, output: AdapterOutput, fill: (write: WriteTensor) => Promise<AdapterDescription>): Promise<AdapterDescription> {
  const { tensors: known, signal } = output;
  const written: AdapterTensor[] = [];
  const header = known === undefined ? new Uint8Array() : layoutFile(known).header;
  const path = join(folder, known === undefined ? DATA_FILE : TENSORS);
  const file = await open(path, "w+");
  try {
    let at = header.byteLength;
    await file.write(header, 0, at, 0);
    const description = await fill(async (tensor, values) => {
      throwIfCancelled(signal);
      if (values.length !== elementCount(tensor.shape)) throw new RangeError(`tensor ${tensor.name} has ${values.length} values, which do not fill its shape`);
      if (known !== undefined && known[written.length]?.name !== tensor.name) throw new RangeError(`tensor ${tensor.name} is out of its order`);
      const bytes = bytesOf(tensor.dtype, values);
      await file.write(bytes, 0, bytes.byteLength, at);
      at += bytes.byteLength;
      written.push(tensor);
    });
    if (known === undefined) await assemble(join(folder, TENSORS), layoutFile(written).header, file, at, signal);
    else if (written.length !== known.length) throw new RangeError(`${known.length - written.length} tensors were not written`);
    return description;
  } finally {
    await file.close();
    await rm(join(folder, DATA_FILE), { force: true });
  }
}

function bytesOf(dtype: AdapterTensor["dtype"], values: ArrayLike<number>): Uint8Array {
  if (dtype === "U8") return Uint8Array.from(values);
  const floats = values instanceof Float32Array ? values : new Float32Array(values);
  return dtype === "F32" ? new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength) : narrowFromFloat32(dtype, floats);
}

/** Header and tensors as one file. */
async function assemble(file: string, header: Uint8Array, data: FileHandle, byteLength: number, signal: AbortSignal | undefined): Promise<void> {
  const handle = await open(file, "w");
  try {
    await handle.write(header, 0, header.byteLength, 0);
    const buffer = new Uint8Array(COPY_BYTES);
    for (let done = 0; done < byteLength; ) {
      throwIfCancelled(signal);
      const { bytesRead } = await data.read(buffer, 0, Math.min(buffer.length, byteLength - done), done);
      await handle.write(buffer, 0, bytesRead, header.byteLength + done);
      done += bytesRead;
    }
  } finally {
    await handle.close();
  }
}

function modelCard(config: AdapterDescription["config"], about: string, out: string): string {
  const base = config.base_model_name_or_path;
  const front = [...(typeof base === "string" ? [`base_model: ${JSON.stringify(base)}`] : []), "library_name: peft", "tags:", "- weightsmith"];
  return `---\n${front.join("\n")}\n---\n\n# ${basename(resolve(out))}\n\n${about}\n`;
}
