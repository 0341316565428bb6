import { totalmem } from "node:os";

const GIB = 2 ** 30;

/** The memory a run may use unless told otherwise: a quarter of the machine's, at most 4 GiB. */
export function defaultMemoryBytes(): number {
  return Math.min(4 * GIB, Math.floor(totalmem() / 4));
}

/** Room in the shared memory for programs, tables and rounding beside the tensors. */
export const ARENA_SLACK_BYTES = 32 * 2 ** 20;
