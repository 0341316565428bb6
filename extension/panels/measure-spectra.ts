// The spectra of one tensor of a comparison, measured when the page asks for them.
import { dirname } from "node:path";
import type { Comparison, TensorSpectra } from "../../merge-core/analysis/comparison.ts";
import { inputError } from "../../merge-core/diagnostics.ts";
import { runForText } from "../jobs/program.ts";
import { memoryOptions, threadOptions } from "../settings.ts";

interface Compared {
  /** Paths of models may count from its folder. */
  readonly recipe?: string | undefined;
  readonly comparison: Comparison;
}

function commandFor({ recipe, comparison: { base, models } }: Compared, ...more: readonly string[]): { args: string[]; cwd: string } {
  const named = [...(base === undefined ? [] : [`--base=${base}`]), ...models];
  return { args: ["compare", ...named, "--spectra", ...more, "--json", ...memoryOptions(), ...threadOptions()], cwd: dirname(recipe ?? models[0] ?? "") };
}

/** The comparison with singular values and subspaces of all its matrices. @throws WeightsmithError what the program reports */
export async function measureSubspaces(compared: Compared, run: (args: readonly string[], cwd: string) => Promise<string>): Promise<Comparison> {
  const { args, cwd } = commandFor(compared);
  return JSON.parse(await run(args, cwd)) as Comparison;
}

/** @throws WeightsmithError `tensor-missing` where the program leaves the tensor out, with its reason; what the program reports */
export async function measureSpectra(extensionPath: string, { recipe, comparison }: Compared, tensor: string, signal: AbortSignal): Promise<TensorSpectra> {
  const { args, cwd } = commandFor({ recipe, comparison }, `--tensors=${literal(tensor)}`);
  const found = JSON.parse(await runForText(extensionPath, args, { cwd, signal })) as Comparison;
  const spectra = found.spectra?.find((item) => item.tensor === tensor);
  if (spectra !== undefined) return spectra;
  const reason = found.spectraSkipped?.find(({ name }) => name === tensor)?.reason ?? "it is not in all models";
  throw inputError("tensor-missing", `${tensor} has no spectra: ${reason}`);
}

/** A glob that fits the name alone. */
const literal = (name: string): string => name.replaceAll(/[*?[{]/g, "[$&]");
