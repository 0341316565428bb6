// Several reads that go on at the same time.

/** Settles when all have, so that none writes to memory any more; fails as the first of them in order that failed. */
export function allArrived(reads: readonly Promise<void>[]): Promise<void> {
  const all = Promise.allSettled(reads).then((results) => {
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  });
  // It may fail while something is computed, long before anybody asks.
  all.catch(() => undefined);
  return all;
}
