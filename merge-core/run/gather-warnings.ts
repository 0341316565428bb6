// Warnings of single tensors as a result tells them: what many tensors have in common is said once, with a list of them.
import type { Diagnostic } from "../diagnostics.ts";

/** Fewer are told one by one. */
const FEW = 3;

/** @param noted what was noticed at each tensor, in the order of the output */
export function gatherWarnings(noted: readonly { readonly tensor: string; readonly warnings: readonly Diagnostic[] }[]): Diagnostic[] {
  const kinds = new Map<string, { tensor: string; warning: Diagnostic }[]>();
  for (const { tensor, warnings } of noted) for (const warning of warnings) kinds.set(warning.code, [...(kinds.get(warning.code) ?? []), { tensor, warning }]);
  return [...kinds.values()].flatMap((list) => (list.length <= FEW ? list.map(({ warning }) => warning) : [summary(list)]));
}

function summary(list: readonly { readonly tensor: string; readonly warning: Diagnostic }[]): Diagnostic {
  const { warning: first } = list[0] as { warning: Diagnostic };
  const tensors = list.map(({ tensor, warning: { found } }) => (found === undefined ? tensor : `${tensor}: ${found}`));
  const { found: _, ...rest } = first;
  return { ...rest, message: `${first.message}, and so for ${list.length - 1} more tensors`, notes: [...(first.notes ?? []), ...tensors] };
}
