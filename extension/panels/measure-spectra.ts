// The spectra of one tensor of a comparison, measured when the page asks for them.
import type { Comparison, TensorSpectra } from "../../merge-core/analysis/comparison.ts";
import { inputError } from "../../merge-core/diagnostics.ts";
import type { Compared } from "../../webviews/protocol.ts";
import { runForText } from "../jobs/program.ts";
import { memoryOptions, threadOptions } from "../settings.ts";

function argumentsFor({ base, models, density }: Compared, ...more: readonly string[]): string[] {
  const named = [...(base === undefined ? [] : [`--base=${base}`]), ...models];
  return ["compare", ...named, `--density=${density}`, "--spectra", ...more, "--json", ...memoryOptions(), ...threadOptions()];
}

/**
 * The comparison with singular values and subspaces of all its matrices, under the names that its models had.
 * @throws WeightsmithError what the program reports
 */
export async function measureSubspaces(comparison: Comparison, run: (args: readonly string[]) => Promise<string>): Promise<Comparison> {
  const { base, models, merges } = comparison;
  const measured = JSON.parse(await run(argumentsFor(comparison))) as Comparison;
  return { ...measured, models, ...(base !== undefined && { base }), ...(merges && { merges }) };
}

/**
 * @param cwd paths of models may count from this folder
 * @throws WeightsmithError `tensor-missing` where the program leaves the tensor out, with its reason; what the program reports
 */
export async function measureSpectra(
  extensionPath: string,
  compared: Compared,
  tensor: string,
  { cwd, signal }: { readonly cwd: string; readonly signal: AbortSignal },
): Promise<TensorSpectra> {
  const args = argumentsFor(compared, `--tensors=${literal(tensor)}`);
  const found = JSON.parse(await runForText(extensionPath, args, { cwd, signal })) as Comparison;
  const spectra = found.spectra?.find((item) => item.tensor === tensor);
  if (spectra !== undefined) return spectra;
  const reason = found.spectraSkipped?.find(({ name }) => name === tensor)?.reason ?? "it is not in all models";
  throw inputError("tensor-missing", `${tensor} has no spectra: ${reason}`);
}

/** A glob that fits the name alone. */
const literal = (name: string): string => name.replaceAll(/[*?[{]/g, "[$&]");
