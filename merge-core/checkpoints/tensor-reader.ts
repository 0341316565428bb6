// Numbers of single tensors; files stay open from one to the next. Node only.
import { openFile } from "../bytes/file-source.ts";
import type { ByteSource } from "../bytes/source.ts";
import { readNumbers } from "../formats/read-numbers.ts";
import type { TensorEntry } from "./checkpoint.ts";

export class TensorReader {
  readonly #open = new Map<string, Promise<ByteSource>>();

  async read({ file, offset, byteLength, dtype }: TensorEntry): Promise<Float32Array | Float64Array> {
    const source = this.#open.get(file) ?? openFile(file);
    this.#open.set(file, source);
    return readNumbers(dtype, await (await source).read(offset, byteLength));
  }

  async close(): Promise<void> {
    for (const source of this.#open.values()) await (await source).close();
  }
}
