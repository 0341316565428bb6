// The keys that choose tensors by name: `filter`, the extensions `glob` and `regex`, and `exclude`.
import { isSeq, type Node } from "yaml";
import type { SourceRange } from "../diagnostics.ts";
import type { Fields, Reader } from "./reader.ts";
import { patternProblem, type TensorFilter } from "./tensor-pattern.ts";

export const FILTER_KEYS = ["filter", "glob", "regex", "exclude"] as const;

const PREFIXES = { filter: "", glob: "glob:", regex: "re:" } as const;

/** At most one of filter, glob and regex; exclude is one pattern or a list. */
export function readFilter(reader: Reader, fields: Fields, what: string): TensorFilter {
  const given = (["filter", "glob", "regex"] as const).flatMap((key) => {
    const field = fields.get(key);
    return field?.value === undefined ? [] : [{ field, prefix: PREFIXES[key] }];
  });
  const [first, second] = given;
  if (first !== undefined && second !== undefined)
    reader.report("one-of-filters", `${what} has several filters`, second.field.keyRange, {
      found: given.map(({ field }) => field.key).join(" and "),
      expected: "one of filter, glob, regex",
    });
  const filter = first === undefined ? undefined : readPattern(reader, first.field.value, first.field.key, first.field.keyRange, first.prefix);
  const field = fields.get("exclude");
  if (field?.value === undefined) return { filter };
  const nodes = isSeq(field.value) ? (reader.list(field.value, "exclude", field.keyRange) ?? []) : [field.value];
  return { filter, exclude: nodes.flatMap((node) => readPattern(reader, node, "exclude", field.keyRange, "") ?? []) };
}

function readPattern(reader: Reader, node: Node | undefined, what: string, place: SourceRange, prefix: string): string | undefined {
  const text = reader.text(node, what, place);
  if (text === undefined) return undefined;
  const pattern = prefix + text;
  const problem = patternProblem(pattern);
  if (problem === undefined) return pattern;
  reader.report("tensor-pattern", `${what} is not a pattern for tensor names`, node === undefined ? place : reader.rangeOf(node), {
    found: problem,
    expected: "text that names contain, glob:model.layers.[0-3].*, or re:layers\\.[0-3]\\.",
  });
  return undefined;
}
