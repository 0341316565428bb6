// What a sliced adapter is made of, for those who look at it. Node only.
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Diagnostic } from "../diagnostics.ts";
import { longestChain, type Part, type Provenance, partFolder, readProvenance, SLICES_FILE, type Slice } from "./provenance.ts";

/** One slice of the data, and the part of the adapter in use that it came to last. */
export type DescribedSlice = Slice & { readonly active: boolean } & Partial<Pick<Part, "layers" | "trainLoss" | "validationLoss">> & {
    /** Numbers of the slices, in their order, that the adapter would have without this one; none where all its parts have seen it. */
    readonly without: readonly number[];
  };

export interface DescribedSlices {
  /** In the order of their numbers. */
  readonly slices: readonly DescribedSlice[];
  /** The numbers of those in the adapter, in the order in which they were trained on. */
  readonly active: readonly number[];
  readonly parts: number;
  readonly findings: readonly Diagnostic[];
}

/**
 * Undefined for an adapter that was not trained in slices.
 * @param modules paths of the adapter's modules, which the record must agree with
 * @throws WeightsmithError `slices-invalid`, `json-*`
 */
export async function describeSlices(folder: string, modules: readonly string[]): Promise<DescribedSlices | undefined> {
  if (!existsSync(join(folder, SLICES_FILE))) return undefined;
  const record = await readProvenance(folder);
  const { slices, parts, active } = record;
  const described = slices.map((slice): DescribedSlice => {
    const place = active.indexOf(slice.number);
    const part = place < 0 ? undefined : parts.find((one) => one.slices.join() === active.slice(0, place + 1).join());
    const { layers, trainLoss, validationLoss } = part ?? {};
    const own = part === undefined ? {} : { layers, trainLoss, ...(validationLoss === undefined ? {} : { validationLoss }) };
    return { ...slice, active: place >= 0, ...own, without: longestChain(parts.filter((one) => !one.slices.includes(slice.number))) } as DescribedSlice;
  });
  return { slices: described, active, parts: parts.length, findings: findingsOf(folder, record, modules) };
}

/** Where the folder is not what its record says. */
function findingsOf(folder: string, { parts, active }: Provenance, modules: readonly string[]): Diagnostic[] {
  const file = join(folder, SLICES_FILE);
  const warning = { severity: "warning", file } as const;
  const missing = parts.filter(({ slices }) => !existsSync(join(folder, partFolder(slices)))).map(({ slices }) => slices.join("-"));
  const chain = parts.filter(({ slices }) => slices.join() === active.slice(0, slices.length).join());
  const said = sorted(chain.flatMap(({ layers }) => layers));
  const held = sorted(modules.flatMap((module) => /\.(\d+)\./.exec(module)?.[1] ?? []).map(Number));
  return [
    ...(missing.length === 0
      ? []
      : [{ ...warning, code: "slices-part-missing", message: "parts of the record are gone, so slices cannot be removed", found: missing.join(", ") }]),
    ...(said.join() === held.join() || held.length === 0
      ? []
      : [
          {
            ...warning,
            code: "slices-invalid",
            message: "the adapter's layers are not those of its record",
            found: held.join(", "),
            expected: said.join(", "),
          },
        ]),
  ];
}

const sorted = (numbers: readonly number[]): number[] => [...new Set(numbers)].sort((a, b) => a - b);
