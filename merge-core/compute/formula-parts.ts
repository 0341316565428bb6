// Finding and replacing parts of the formulas of a pass.
import type { Expr, Reduction } from "./expr.ts";
import type { Sink } from "./program.ts";
import type { SignedVectors } from "./sign-patterns.ts";

/** The outermost parts of a kind, each once. */
export function findParts<T extends Expr>(sinks: readonly Sink[], isWanted: (x: Expr) => x is T): T[] {
  const found = new Set<T>();
  const seen = new Set<Expr>();
  const visit = (x: Expr): void => {
    if (isWanted(x)) found.add(x);
    else if (x.op !== "input" && x.op !== "const" && !seen.has(x)) {
      seen.add(x);
      visitParts(x, visit);
    }
  };
  for (const sink of sinks) for (const x of formulasOf(sink)) visit(x);
  return [...found];
}

function visitParts(x: Expr, visit: (part: Expr) => void): void {
  switch (x.op) {
    case "input":
    case "const":
    case "perRow":
    case "perColumn":
    case "given":
    case "turns":
      return;
    case "linear":
      for (const term of x.terms) visit(term.x);
      return;
    case "bernoulli":
      visit(x.keep);
      return;
    default:
      visit(x.a);
      if ("b" in x) visit(x.b);
      if ("c" in x) visit(x.c);
  }
}

function formulasOf(sink: Sink): readonly Expr[] {
  if (sink.kind === "patterns") return formulasOfSigns(sink.vectors);
  if (sink.kind !== "reduce") return [sink.x];
  return sink.reduction.op === "dot" ? [sink.reduction.x, sink.reduction.y] : [sink.reduction.x];
}

const formulasOfSigns = ({ xs, elected }: SignedVectors): readonly Expr[] => (elected === undefined ? xs : [...xs, elected]);

/** The same sinks with something else in the place of parts, where `replace` gives it. Shared parts stay shared. */
export function replaceParts(sinks: readonly Sink[], replace: (x: Expr) => Expr | undefined): Sink[] {
  const done = new Map<Expr, Expr>();
  const rewrite = (x: Expr): Expr => {
    const known = done.get(x);
    if (known !== undefined) return known;
    const result = replace(x) ?? rebuild(x, rewrite);
    done.set(x, result);
    return result;
  };
  return sinks.map((sink): Sink => {
    if (sink.kind === "reduce") return { ...sink, reduction: rewriteReduction(sink.reduction, rewrite) };
    if (sink.kind !== "patterns") return { ...sink, x: rewrite(sink.x) };
    const { xs, elected } = sink.vectors;
    return { ...sink, vectors: { xs: xs.map(rewrite), elected: elected && rewrite(elected) } };
  });
}

function rewriteReduction(reduction: Reduction, rewrite: (x: Expr) => Expr): Reduction {
  return reduction.op === "dot" ? { ...reduction, x: rewrite(reduction.x), y: rewrite(reduction.y) } : { ...reduction, x: rewrite(reduction.x) };
}

function rebuild(x: Expr, rewrite: (x: Expr) => Expr): Expr {
  if (x.op === "linear") return { ...x, terms: x.terms.map(({ weight, x: inner }) => ({ weight, x: rewrite(inner) })) };
  if (x.op === "select") return { ...x, a: rewrite(x.a), b: rewrite(x.b), c: rewrite(x.c) };
  if (x.op === "bernoulli") return { ...x, keep: rewrite(x.keep) };
  if ("b" in x) return { ...x, a: rewrite(x.a), b: rewrite(x.b) };
  return "a" in x ? { ...x, a: rewrite(x.a) } : x;
}
