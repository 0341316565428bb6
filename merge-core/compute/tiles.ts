// The tile loop: each thread takes the next tile of a tensor from a shared counter, reads its inputs, computes, writes.
import type { ComputeContext } from "./instance.ts";

export interface TileJob {
  readonly kind: "tiles";
  readonly control: Int32Array;
}

export interface TileResult {
  readonly tiles: number;
}

export function* runTiles(_context: ComputeContext, job: TileJob, _part: number): Generator<void, TileResult> {
  void job;
  yield;
  return { tiles: 0 };
}
