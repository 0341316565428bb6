// The synchronous fan-out: one kernel call split into parts that the calling thread and the parked workers take from a
// shared counter. The caller never depends on a worker: parts nobody takes it runs itself.
// A ticket holds the job's number beside the part's, so a worker that wakes late cannot mistake one job for the next.

const SEQUENCE = 0;
const NEXT = 1;
const COUNT = 2;
const DONE = 3;
const KERNEL = 4;
const ARGS = 5;
const FAILED = 6;
const STATES = 8;
const HEADER_WORDS = 256;

const MESSAGE_BYTES = 512;
const PART_BITS = 12;
const PART_MASK = (1 << PART_BITS) - 1;
const SEQUENCE_MASK = 0xfffff;
/** Parts of one round; a longer list is run in rounds. Leaves ticket numbers for every thread's last, failing try. */
export const MAX_PARTS = 2048;
export const MAX_ARGS = 32;
export const MAX_WORKERS = HEADER_WORDS - STATES;

const IDLE = 0;
const PARKED = 1;
/** How long a parked worker waits for the next call before it listens for messages again. */
const PARK_MS = 50;
/** A kernel part lasts milliseconds; a thread that keeps one this long has died. */
const LOST_MS = 600_000;

export interface PartsBoard {
  readonly words: Int32Array;
  readonly message: Uint8Array;
  readonly args: Float64Array;
}

export function createBoardBuffer(): SharedArrayBuffer {
  return new SharedArrayBuffer(HEADER_WORDS * 4 + MESSAGE_BYTES + MAX_PARTS * MAX_ARGS * 8);
}

export function boardOf(buffer: SharedArrayBuffer): PartsBoard {
  const start = HEADER_WORDS * 4;
  return {
    words: new Int32Array(buffer, 0, HEADER_WORDS),
    message: new Uint8Array(buffer, start, MESSAGE_BYTES),
    args: new Float64Array(buffer, start + MESSAGE_BYTES),
  };
}

type Call = (kernelIndex: number, args: readonly number[]) => void;

/** Writes one round of parts; after this, any thread may take them. */
export function postParts(board: PartsBoard, kernelIndex: number, parts: readonly (readonly number[])[]): void {
  const { words, args } = board;
  const width = parts[0]?.length ?? 0;
  parts.forEach((part, i) => {
    args.set(part, i * MAX_ARGS);
  });
  const sequence = (Atomics.load(words, SEQUENCE) + 1) & SEQUENCE_MASK;
  Atomics.store(words, KERNEL, kernelIndex);
  Atomics.store(words, ARGS, width);
  Atomics.store(words, FAILED, 0);
  Atomics.store(words, DONE, 0);
  Atomics.store(words, COUNT, (sequence << PART_BITS) | parts.length);
  Atomics.store(words, NEXT, sequence << PART_BITS);
  Atomics.store(words, SEQUENCE, sequence);
  Atomics.notify(words, SEQUENCE);
}

/** Runs parts until none is left. Failures are left on the board for the caller. */
export function takeParts(board: PartsBoard, call: Call): void {
  const { words, args } = board;
  for (;;) {
    const ticket = Atomics.add(words, NEXT, 1);
    const posted = Atomics.load(words, COUNT);
    const part = ticket & PART_MASK;
    if (ticket >>> PART_BITS !== posted >>> PART_BITS || part >= (posted & PART_MASK)) return;
    try {
      const start = part * MAX_ARGS;
      call(Atomics.load(words, KERNEL), Array.from(args.subarray(start, start + Atomics.load(words, ARGS))));
    } catch (error) {
      fail(board, error);
    }
    Atomics.add(words, DONE, 1);
    Atomics.notify(words, DONE);
  }
}

/** Blocks until every part is done. @throws Error if a part threw or its thread died. */
export function awaitParts(board: PartsBoard): void {
  const { words } = board;
  const count = Atomics.load(words, COUNT) & PART_MASK;
  for (let done = Atomics.load(words, DONE); done < count; done = Atomics.load(words, DONE)) {
    if (Atomics.wait(words, DONE, done, LOST_MS) === "timed-out") throw new Error("a compute worker stopped inside a kernel");
  }
  if (Atomics.load(words, FAILED) !== 0) throw new Error(`a compute kernel failed: ${failure(board)}`);
}

/** Marks a worker as wanted. @returns true if it must be told by message, since it is not parked. */
export function wakeWorker(board: PartsBoard, worker: number): boolean {
  return Atomics.compareExchange(board.words, STATES + worker, IDLE, PARKED) === IDLE;
}

/** Forgets a worker that died, so that its successor is told by message. */
export function resetWorker(board: PartsBoard, worker: number): void {
  Atomics.store(board.words, STATES + worker, IDLE);
}

/** Sends parked workers back to their messages. */
export function releaseWorkers(board: PartsBoard, workers: number): void {
  for (let i = 0; i < workers; i++) Atomics.store(board.words, STATES + i, IDLE);
  postParts(board, 0, []);
}

/** A worker's side: waits for calls, works on them, and returns when none came for a while. */
export function park(board: PartsBoard, worker: number, call: Call): void {
  const { words } = board;
  let seen = -1;
  while (Atomics.load(words, STATES + worker) === PARKED) {
    const sequence = Atomics.load(words, SEQUENCE);
    if (sequence !== seen) {
      seen = sequence;
      takeParts(board, call);
    } else if (Atomics.wait(words, SEQUENCE, sequence, PARK_MS) === "timed-out") {
      Atomics.compareExchange(words, STATES + worker, PARKED, IDLE);
      // The caller may have posted just before it could see this worker leave.
      if (Atomics.load(words, SEQUENCE) !== seen) takeParts(board, call);
    }
  }
}

function fail(board: PartsBoard, error: unknown): void {
  if (Atomics.compareExchange(board.words, FAILED, 0, 1) !== 0) return;
  const text = new TextEncoder().encode(error instanceof Error ? error.message : String(error)).slice(0, MESSAGE_BYTES - 1);
  board.message.fill(0);
  board.message.set(text);
}

function failure(board: PartsBoard): string {
  // TextDecoder refuses shared memory.
  const copy = board.message.slice();
  return new TextDecoder().decode(copy.subarray(0, copy.indexOf(0)));
}
