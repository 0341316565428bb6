// Checkpoints to measure on, and what merging and comparing are measured against: reading the same bytes, or copying them, by the same
// threads in the same tiles.
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ComputePool } from "../../merge-core/compute/pool.ts";
import { createControl, type TileInput } from "../../merge-core/compute/tile-job.ts";

export const MIB = 1 << 20;
/** The engine's own size of tiles. */
export const TILE_BYTES = MIB / 4;

/** A folder that goes when the process ends. */
export function benchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "weightsmith-bench-"));
  process.on("SIGINT", () => process.exit(130));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/**
 * `mib` of bf16 numbers between 2^-13 and 2^-5 in size, of either sign, as in trained weights, after `header`. A fine-tune differs from its
 * base, which is of another seed, in the low bits.
 */
export function makeCheckpoint(file: string, seed: number, mib: number, header = new Uint8Array()): void {
  const fd = openSync(file, "w");
  writeSync(fd, header, 0, header.byteLength, 0);
  const codes = new Uint16Array((8 * MIB) / 2);
  let state = 1;
  let noise = seed;
  for (let at = 0; at < mib; at += 8) {
    for (let i = 0; i < codes.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      noise = (Math.imul(noise, 22695477) + 1) | 0;
      codes[i] = ((state >>> 16) & 0x83ff) + 0x3900 + ((noise >>> 28) & 15);
    }
    writeSync(fd, codes, 0, codes.byteLength, header.byteLength + at * MIB);
  }
  closeSync(fd);
}

/** A new, empty file of the right size: both sides write where nothing was written before, as a merge does. */
export function freshOutput(pool: ComputePool, output: string, mib: number): void {
  pool.files.closeIdle();
  rmSync(output, { force: true });
  const fd = openSync(output, "w");
  ftruncateSync(fd, mib * MIB);
  closeSync(fd);
}

/** The tile loop without a kernel: reads every input and, with an output, writes as much as one of them. */
export async function readFiles(pool: ComputePool, files: readonly string[], mib: number, output?: string): Promise<void> {
  const fds = files.map((file) => pool.files.acquire(file, false));
  const inputs = files.map((file, slot): TileInput => ({ slot, elementBytes: 2, store: { file, fd: fds[slot] as number, offset: 0 }, load: true }));
  const target = output === undefined ? undefined : { elementBytes: 2, store: { file: output, fd: pool.files.acquire(output, true), offset: 0 } };
  const partBytes = 4096 + files.length * TILE_BYTES;
  const block = pool.arena.alloc(pool.threads * partBytes);
  const parts = Array.from({ length: pool.threads }, (_, i) => {
    const table = block + i * partBytes;
    const buffers = files.map((_, slot) => table + 4096 + slot * TILE_BYTES);
    return { program: table, table, buffers, output: buffers[0] as number, masks: [], scratch: 0 };
  });
  const elements = { first: 0, end: (mib * MIB) / 2, tile: TILE_BYTES / 2, stride: TILE_BYTES / 2 };
  await pool.run({ control: createControl(), ...elements, code: undefined, inputs, masks: [], output: target, parts });
  pool.arena.free(block);
  for (const file of files) pool.files.release(file, false);
  if (output !== undefined) pool.files.release(output, true);
}

export interface Cost {
  ms: number;
  cpuMs: number;
}

export const noCost = (): Cost => ({ ms: Number.POSITIVE_INFINITY, cpuMs: Number.POSITIVE_INFINITY });

/** The least time and the least processor time so far. */
export async function measure(action: () => Promise<unknown>, least: Cost): Promise<void> {
  const start = performance.now();
  const cpu = process.cpuUsage();
  await action();
  const { user, system } = process.cpuUsage(cpu);
  least.ms = Math.min(least.ms, performance.now() - start);
  least.cpuMs = Math.min(least.cpuMs, (user + system) / 1000);
}

export const ratio = (a: number, b: number): number => Math.round((100 * a) / b) / 100;
