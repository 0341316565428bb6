// How far two checkpoints of the same tensors lie apart, a few megabytes at a time.
import { openFile } from "../../../merge-core/bytes/file-source.ts";
import { openCheckpoint } from "../../../merge-core/checkpoints/open-checkpoint.ts";
import { widenToFloat32 } from "../../../merge-core/formats/dtype-codecs.ts";
import { DTYPE_BYTES, type FloatDType } from "../../../merge-core/formats/dtypes.ts";

export interface Difference {
  readonly max: number;
  /** Share of the elements that are not equal. */
  readonly share: number;
}

const CHUNK = 2 ** 20;

/** @throws Error if the tensors' names, shapes or element types are not the same */
export async function differenceOf(ours: string, theirs: string): Promise<Difference> {
  const [a, b] = [await openCheckpoint(ours), await openCheckpoint(theirs)];
  const names = [...a.tensors.keys()];
  if (names.sort().join() !== [...b.tensors.keys()].sort().join()) throw new Error(`${ours} and ${theirs} hold different tensors`);
  let max = 0;
  let different = 0;
  let total = 0;
  for (const [name, x] of a.tensors) {
    const y = b.tensors.get(name);
    if (y === undefined || y.dtype !== x.dtype || y.shape.join() !== x.shape.join()) throw new Error(`${name} is not of the same shape and type in both`);
    const [fileA, fileB] = [await openFile(x.file), await openFile(y.file)];
    for (let at = 0; at < x.byteLength; at += CHUNK) {
      const count = Math.min(CHUNK, x.byteLength - at);
      const left = widenToFloat32(x.dtype as FloatDType, await fileA.read(x.offset + at, count));
      const right = widenToFloat32(y.dtype as FloatDType, await fileB.read(y.offset + at, count));
      for (let i = 0; i < left.length; i++) {
        const difference = Math.abs((left[i] as number) - (right[i] as number));
        if (difference !== 0) different++;
        if (!(difference <= max)) max = difference;
      }
    }
    total += x.byteLength / DTYPE_BYTES[x.dtype];
    await Promise.all([fileA.close(), fileB.close()]);
  }
  return { max, share: different / total };
}
