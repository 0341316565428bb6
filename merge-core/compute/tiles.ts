// The tile loop: each thread takes the next tile of a tensor from a shared counter, brings its inputs into WASM memory,
// runs the program, and puts the result where it belongs. Nothing it does depends on which thread takes which tile.
import { writeFully } from "./files.ts";
import { bytesOf, type ComputeContext } from "./instance.ts";
import { TILES_DONE, type TileJob, type TilePart, type TileResult } from "./tile-job.ts";
import { fillMasks } from "./tile-masks.ts";
import { TileReader } from "./tile-reader.ts";

/**
 * One thread's share of the tiles. What `rest` gives after each is awaited.
 * @throws WeightsmithError for input and output errors, once nothing is being read any more.
 */
export async function runTiles(context: ComputeContext, job: TileJob, part: number, rest?: () => Promise<void> | undefined): Promise<TileResult> {
  const own = job.parts[part] as TilePart;
  const run = job.code === undefined ? undefined : context.specialised(job.code);
  if (own.counters !== undefined) bytesOf(context.memory, own.counters[1]).fill(0, ...own.counters);
  const reader = new TileReader(context.memory, job, own);
  let nonFinite = 0;
  try {
    for (let tile = reader.read(); tile !== undefined; tile = reader.read()) {
      if (tile.arrival !== undefined) await tile.arrival;
      reader.readAhead();
      const { start, count } = tile;
      reader.enter(tile);
      fillMasks(context, job.masks, own.masks, own, start, count);
      nonFinite += run?.(own.program, own.table, own.output, count, start) ?? 0;
      writeOutput(context.memory, job, own, start, count);
      Atomics.add(job.control, TILES_DONE, 1);
      const pause = rest?.();
      if (pause !== undefined) await pause;
    }
  } finally {
    await reader.settled();
  }
  return { nonFinite };
}

function writeOutput(memory: WebAssembly.Memory, job: TileJob, part: TilePart, start: number, count: number): void {
  if (job.output === undefined) return;
  const { elementBytes, store } = job.output;
  const bytes = bytesOf(memory, part.output + count * elementBytes).subarray(part.output, part.output + count * elementBytes);
  if ("bytes" in store) store.bytes.set(bytes, (start - job.first) * elementBytes);
  else writeFully(store.fd, bytes, store.offset + start * elementBytes, store.file);
}
