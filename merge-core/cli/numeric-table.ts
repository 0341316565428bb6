// Measures as text.
import type { Measure } from "../analysis/comparison.ts";
import { formatTable } from "./output.ts";

export const number = (value: Measure | undefined, digits = 4): string =>
  value === null || value === undefined ? "-" : String(Number(value.toPrecision(digits)));

/** A table whose columns after the first are set right. */
export function numericTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  return formatTable(
    header,
    rows,
    header.map((_, i) => i).filter((i) => i > 0),
  );
}
