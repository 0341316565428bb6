import { cpus } from "node:os";

const SAMPLE_MS = 250;
const REST = 0.8;

/** Waits until the processors idle, as they do once the workbench and the browser have started; no longer than a limit, where others keep them busy. */
export async function untilAtRest(limitMs: number): Promise<void> {
  let quiet = 0;
  for (const end = Date.now() + limitMs; quiet < 3 && Date.now() < end; ) {
    const before = idleMs();
    await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
    quiet = idleMs() - before > REST * SAMPLE_MS * cpus().length ? quiet + 1 : 0;
  }
}

const idleMs = (): number => cpus().reduce((sum, { times }) => sum + times.idle, 0);
