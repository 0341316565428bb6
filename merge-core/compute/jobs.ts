// Long work as a stream of steps. A worker drains it at once; without workers the calling thread pauses between steps,
// so that the event loop, and with it cancellation, stays alive.
import type { ComputeContext } from "./instance.ts";
import { runTiles, type TileJob, type TileResult } from "./tiles.ts";

/** Words of a job's shared control array. */
export const NEXT_TILE = 0;
export const STOP = 1;
export const TILES_DONE = 2;
const CONTROL_WORDS = 3;

/** What every job carries: `control` is shared by the threads that work on it. */
export interface JobControl {
  readonly control: Int32Array;
}

export function createControl(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(CONTROL_WORDS * 4));
}

export type Job = TileJob;
export type JobResult = TileResult;

/** One thread's share of a job; yields between steps, returns its part of the result. `part` numbers the threads from 0. */
export function startJob(context: ComputeContext, job: Job, part: number): Generator<void, JobResult> {
  return runTiles(context, job, part);
}
