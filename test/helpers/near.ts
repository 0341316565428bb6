// Lists of numbers that agree up to a tolerance.
import assert from "node:assert/strict";

export function near(found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what = "the result"): void {
  assert.equal(found.length, expected.length);
  const largest = Array.from(found).reduce((most, x, i) => Math.max(most, Math.abs(x - (expected[i] ?? Number.NaN))), 0);
  assert.ok(largest <= tolerance, `${what} differs by ${largest}: ${Array.from(found).slice(0, 8)} and ${Array.from(expected).slice(0, 8)}`);
}
