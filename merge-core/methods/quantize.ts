// Rounding of numbers to a few levels: evenly spaced between the least and the largest, or so after a logarithm or tanh.

export type Quantizer = "linear" | "log" | "tanh";

/** The least and the largest of the values that levels are spaced over. */
export interface Range {
  readonly least: number;
  readonly largest: number;
  add(values: Float32Array): void;
}

export function rangeOf(kind: Quantizer): Range {
  const range = {
    least: Number.POSITIVE_INFINITY,
    largest: Number.NEGATIVE_INFINITY,
    add(values: Float32Array) {
      for (const value of values) {
        const x = spaced(kind, value);
        // A logarithm of zero is left out: zeros stay zeros. NaN belongs nowhere.
        if (!Number.isFinite(x)) continue;
        if (x < range.least) range.least = x;
        if (x > range.largest) range.largest = x;
      }
    },
  };
  return range;
}

const spaced = (kind: Quantizer, x: number): number => (kind === "log" ? Math.log2(Math.abs(x)) : kind === "tanh" ? Math.tanh(x) : x);

/**
 * Linear: `levels` values. Log: half of them of either sign. Tanh: linear in tanh x. Two linear levels are plus and minus the largest
 * magnitude, so that signs survive. Values that are not finite stay what they are.
 */
export function quantizer(kind: Quantizer, levels: number, { least, largest }: Range): (x: number) => number {
  const bound = Math.max(Math.abs(least), Math.abs(largest));
  const [low, high] = levels === 2 && kind !== "log" ? [-bound, bound] : [least, largest];
  const steps = (kind === "log" ? levels / 2 : levels) - 1;
  const step = (high - low) / steps;
  const round = (x: number) => (step > 0 ? low + step * Math.floor((x - low) / step + 0.5) : low);
  return (x) => {
    if (!Number.isFinite(x) || (kind === "log" && x === 0)) return x;
    const rounded = round(spaced(kind, x));
    if (kind === "log") return Math.sign(x) * 2 ** rounded;
    return kind === "tanh" ? Math.atanh(rounded) : rounded;
  };
}
