// Sizes that training draws anew for each step and that are chosen when it is over, so that one trained adapter holds many
// smaller ones: ranks (Shears, Munoz et al., 2024) and widths of layers (LoNAS, Munoz et al., 2024).
import type { Algebra } from "../algebra/algebra.ts";
import type { ModuleTensor, Settings } from "../family.ts";
import { type Factors, firstColumns, firstRows, type Part, type Pass } from "../family-math.ts";
import { type Start, tensor } from "../family-training.ts";

type Sized = Pick<Part<unknown>, "settings" | "module">;

const numbersOf = (list: unknown): number[] =>
  String(list ?? "")
    .split(/[\s,]+/)
    .filter((text) => text !== "")
    .map(Number);

export const elasticRanks = ({ elastic_ranks: ranks }: Settings): number[] => numbersOf(ranks);

/** Outputs that a module may keep; none for kinds of modules whose width is fixed. */
export function elasticWidths({ elastic_widths: shares, elastic_modules: kinds }: Settings, module: string, outputs: number): number[] {
  const isElastic = String(kinds ?? "")
    .split(/[\s,]+/)
    .includes(module.split(".").at(-1) ?? module);
  return isElastic ? numbersOf(shares).map((share) => Math.max(1, Math.round(share * outputs))) : [];
}

/** In training the size that is drawn for the module, afterwards the one that was chosen for it; undefined for the whole. */
function sizeOf({ settings, module }: Sized, what: "rank" | "width", sizes: readonly number[], { draw }: Pass): number | undefined {
  if (draw !== undefined && sizes.length > 0) return sizes[Math.floor((draw(`${what}/${module}`, 1)[0] as number) * sizes.length)];
  const chosen = settings[`elastic_${what}`];
  return typeof chosen === "number" ? chosen : undefined;
}

/** The leading part of the rank; the scale stays. */
export function elasticFactors<T>(m: Algebra<T>, p: Part<T>, factors: Factors<T>, pass: Pass): Factors<T> {
  const rank = sizeOf(p, "rank", elasticRanks(p.settings), pass);
  return rank === undefined ? factors : { ...factors, a: firstRows(m, factors.a, rank), b: firstColumns(m, factors.b, rank) };
}

/** How many outputs the module keeps in this pass. */
export const elasticWidth = <T>(p: Part<T>, pass: Pass): number =>
  sizeOf(p, "width", elasticWidths(p.settings, p.module, p.layer.outFeatures), pass) ?? p.layer.outFeatures;

/** A [r, in] and B [out, r] cut to the rank that was chosen, under their names. */
export function chosenRank({ elastic_rank: rank }: Settings, tensors: Start, nameA: string, nameB: string): Start {
  const { [nameA]: a, [nameB]: b } = tensors;
  if (typeof rank !== "number" || a === undefined || b === undefined) return tensors;
  const inputs = a.shape[1] ?? 0;
  return { ...tensors, [nameA]: tensor(Float32Array.from(a.values).subarray(0, rank * inputs), rank, inputs), [nameB]: leadingColumns(b, rank) };
}

function leadingColumns({ shape: [rows = 0, columns = 0], values }: ModuleTensor, count: number): ModuleTensor {
  const taken = Float32Array.from({ length: rows * count }, (_, at) => values[Math.floor(at / count) * columns + (at % count)] as number);
  return tensor(taken, rows, count);
}
