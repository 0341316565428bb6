// How a thread that may sleep waits for the answer of another.

/**
 * Sleeps while the first word is `waiting`. Only the word tells that the answer is there: the notification of an earlier answer may come late,
 * from a thread that was held up between its answer and its notification, and wakes whoever waits by then.
 * @returns false if nothing happened for `limitMs` milliseconds
 */
export function waitWhile(state: Int32Array, waiting: number, limitMs: number): boolean {
  while (Atomics.load(state, 0) === waiting) if (Atomics.wait(state, 0, waiting, limitMs) === "timed-out") return false;
  return true;
}
