// lm-evaluation-harness through its command line (EleutherAI, `lm_eval`), its numbers read from the JSON that it writes. Node only.
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inputError, nearestName, WeightsmithError } from "../diagnostics.ts";
import { isRecord, parseJsonBytes } from "../formats/json.ts";
import { runCommand } from "./external-command.ts";

export interface HarnessRequest {
  readonly task: string;
  /** As the harness names it: `acc,none`; without a filter, `none` is meant. */
  readonly measure: string;
  /** Further arguments, such as `--num_fewshot 5`. */
  readonly args: readonly string[];
  readonly timeoutSeconds: number;
}

/** @throws WeightsmithError `evaluator-*`, `harness-no-results`, `harness-no-measure`, `cancelled` */
export async function measureByHarness(request: HarnessRequest, model: string, signal?: AbortSignal): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "weightsmith-harness-"));
  try {
    const fixed = ["--model", "hf", "--model_args", "pretrained={model}", "--tasks", request.task, "--output_path", folder];
    const { timeoutSeconds } = request;
    const options = { timeoutSeconds, model, ...(signal === undefined ? {} : { signal }) };
    await runCommand(["lm_eval", ...fixed, ...request.args], options).catch(sayHowToInstall);
    // Awaited here: the folder goes when this block is left.
    return await readHarnessResult(await findResults(folder), request);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function sayHowToInstall(error: unknown): never {
  if (!(error instanceof WeightsmithError && error.code === "evaluator-missing")) throw error;
  const remedy = "pip install lm-eval, and see that lm_eval is on the PATH";
  throw new WeightsmithError({ ...error.diagnostics[0], ...MISSING, remedy }, { exitCode: error.exitCode, cause: error });
}

const MISSING = { code: "evaluator-missing", severity: "error", message: "lm-evaluation-harness cannot be started" } as const;

/** The newest results_*.json below the folder: older versions write straight into it, newer ones one folder down. */
async function findResults(folder: string): Promise<string> {
  const names = await readdir(folder, { recursive: true });
  const file = names
    .filter((name) => /(^|[\\/])results[^\\/]*\.json$/.test(name))
    .sort()
    .at(-1);
  if (file !== undefined) return join(folder, file);
  throw inputError("harness-no-results", "lm_eval wrote no results", { found: names.join(", ") || "nothing", expected: "results_*.json" });
}

async function readHarnessResult(file: string, { task, measure }: HarnessRequest): Promise<number> {
  const document = parseJsonBytes(await readFile(file), file, { maxBytes: 100_000_000, maxDepth: 64, nonFinite: true });
  const results = isRecord(document) && isRecord(document.results) ? document.results[task] : undefined;
  const measures = isRecord(results) ? results : {};
  const value = measures[measure] ?? measures[`${measure},none`];
  if (typeof value === "number") return value;
  const known = Object.keys(measures).filter((key) => typeof measures[key] === "number");
  const near = nearestName(measure, known);
  throw inputError("harness-no-measure", `lm_eval reports no ${measure} for ${task}`, {
    found: known.join(", ") || "no numbers",
    expected: measure,
    ...(near === undefined ? {} : { remedy: `did you mean ${near}?` }),
  });
}
