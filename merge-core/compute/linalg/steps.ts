// Long work cut in steps, so that a caller can let others run between them, or give up.
import { throwIfCancelled } from "../../diagnostics.ts";

/** Work that stops after every second or less of one slow core. What it yields is to be waited for before it goes on. */
export type Steps<T> = Generator<Promise<unknown> | undefined, T>;

/** Lets others run now and then, and at once where there is something to wait for. @throws WeightsmithError `cancelled` */
export type Pause = (work?: Promise<unknown>) => Promise<void>;

/** All of it at one go: for small work, none of which another thread does. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** All of it, with pauses in between. Work that is given up gives its memory back. */
export async function inTurns<T>(steps: Steps<T>, pause: Pause): Promise<T> {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    try {
      await pause(step.value);
    } catch (error) {
      steps.throw(error);
    }
  }
}

/** What another thread finds, as a step. */
export function* awaited<T>(work: Promise<T>): Steps<T> {
  const found: T[] = [];
  yield work.then((value) => found.push(value));
  if (found.length === 0) throw new TypeError("what another thread does cannot be had at once");
  return found[0] as T;
}

/** So often others get their turn while something is computed, among them whoever cancels. */
const TURN_MS = 100;

export function turns(signal?: AbortSignal): Pause {
  let last = performance.now();
  return async (work) => {
    if (work !== undefined) await unlessAborted(work, signal);
    else if (performance.now() - last < TURN_MS) return;
    else await new Promise((resume) => setImmediate(resume));
    last = performance.now();
    throwIfCancelled(signal);
  };
}

/** Waits for the work, or no longer than until the signal. */
async function unlessAborted(work: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
  throwIfCancelled(signal);
  let stop = (): void => {};
  const aborted = new Promise<void>((resolve) => {
    stop = resolve;
    signal?.addEventListener("abort", stop, { once: true });
  });
  try {
    await Promise.race([work, aborted]);
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}
