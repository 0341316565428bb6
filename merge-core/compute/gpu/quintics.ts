// Odd polynomials of degree 5 that take all singular values to 1, each the best for what the one before leaves (The Polar Express: Amsel,
// Persson, Musco and Gower, 2025).

/** Coefficients of x, x^3 and x^5. */
export type Quintic = readonly [number, number, number];

/** Lower end over upper end of the widest interval that a polynomial is made for. */
const CUSHION = 0.024;

/** The quintics that take [least, 1] to 1, each the best for the interval that the one before leaves. */
export function quintics(least: number): Quintic[] {
  const steps: Quintic[] = [];
  let [low, high] = [least, 1];
  while (high - low > 1e-6) {
    // An interval that is too wide is taken as narrower: its lower end would cost the upper one too much.
    const from = Math.max(low, CUSHION * high);
    // Beyond the interval a steep polynomial would make rounding grow, so it is made for a little more.
    const safety = low / high < 0.5 ? 1.01 : 1;
    const [a, b, c] = bestQuintic(from, high);
    const step: Quintic = [a / safety, b / safety ** 3, c / safety ** 5];
    const at = (x: number): number => step[0] * x + step[1] * x ** 3 + step[2] * x ** 5;
    steps.push(step);
    [low, high] = [at(low), 2 - (a * from + b * from ** 3 + c * from ** 5)];
  }
  return steps;
}

/** The odd polynomial of degree 5 that is nearest to 1 on [low, high], by Remez's exchange: its error is equal at four places. */
function bestQuintic(low: number, high: number): Quintic {
  if (low / high >= 1 - 5e-6) return [1.875 / high, -1.25 / high ** 3, 0.375 / high ** 5];
  let [q, r] = [(3 * low + high) / 4, (low + 3 * high) / 4];
  for (let round = 0; ; round++) {
    const [a, b, c] = solve4([low, q, r, high].map((x, i) => [x, x ** 3, x ** 5, i % 2 === 0 ? 1 : -1, 1])) as [number, number, number];
    const root = Math.sqrt(Math.max(0, 9 * b * b - 20 * a * c));
    if (round === 30) return [a, b, c];
    [q, r] = [Math.sqrt((-3 * b - root) / (10 * c)), Math.sqrt((-3 * b + root) / (10 * c))];
  }
}

/** Gaussian elimination with pivots of rows that end with the right side. */
function solve4(rows: number[][]): number[] {
  const at = (i: number, j: number): number => rows[i]?.[j] ?? 0;
  for (let k = 0; k < rows.length; k++) {
    const pivot = rows.map((_, i) => i).reduce((best, i) => (i >= k && (best < k || Math.abs(at(i, k)) > Math.abs(at(best, k))) ? i : best), -1);
    [rows[k], rows[pivot]] = [rows[pivot] as number[], rows[k] as number[]];
    for (let i = 0; i < rows.length; i++) {
      const factor = at(i, k) / at(k, k);
      if (i !== k) rows[i] = (rows[i] as number[]).map((value, j) => value - factor * at(k, j));
    }
  }
  return rows.map((_, i) => at(i, rows.length) / at(i, i));
}
