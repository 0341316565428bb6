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

/** @throws WeightsmithError `tensor-missing` where the program leaves the tensor out, with its reason; what the program reports */
export async function measureSpectra(extensionPath: string, { recipe, comparison }: Compared, tensor: string, signal: AbortSignal): Promise<TensorSpectra> {
  const { base, models } = comparison;
  const args = ["compare", ...(base === undefined ? [] : [`--base=${base}`]), ...models, "--spectra", `--tensors=${literal(tensor)}`, "--json"];
  const cwd = dirname(recipe ?? models[0] ?? "");
  const found = JSON.parse(await runForText(extensionPath, [...args, ...memoryOptions(), ...threadOptions()], { cwd, signal })) as Comparison;
  const spectra = found.spectra?.find((item) => item.tensor === tensor);
  if (spectra !== undefined) return spectra;
  const reason = found.spectraSkipped?.find(({ name }) => name === tensor)?.reason ?? "it is not in all models";
  throw inputError("tensor-missing", `${tensor} has no spectra: ${reason}`);
}

/** A glob that fits the name alone. */
const literal = (name: string): string => name.replaceAll(/[*?[{]/g, "[$&]");
