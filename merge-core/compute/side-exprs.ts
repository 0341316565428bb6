// Which parts of formulas are side values: those that are worked out before the tiles of a pass.
import type { Expr } from "./expr.ts";
import { findParts, replaceParts } from "./formula-parts.ts";
import type { Sink } from "./program.ts";

export type SideExpr = Extract<Expr, { readonly op: "perRow" | "perColumn" | "rowRank" | "given" | "turns" }>;

/** The side values that the sinks' formulas use, not those inside the formulas that ranks are taken of. */
export const sidesOf = (sinks: readonly Sink[]): SideExpr[] => findParts(sinks, isSide);

const SIDES: readonly Expr["op"][] = ["perRow", "perColumn", "rowRank", "given", "turns"];
export const isSide = (x: Expr): x is SideExpr => SIDES.includes(x.op);

/** The same sinks with `replace` in the place of each side value. */
export const replaceSides = (sinks: readonly Sink[], replace: (side: SideExpr) => Expr): Sink[] =>
  replaceParts(sinks, (x) => (isSide(x) ? replace(x) : undefined));
