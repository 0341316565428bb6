// One cell as a job of its own process; what it gives is the job's result.
import { randomUUID } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import * as vscode from "vscode";
import { inputError, WeightsmithError } from "../../merge-core/diagnostics.ts";
import type { CellOutput, CellResult } from "../../merge-core/notebook/cell-output.ts";
import type { EditorCell } from "../../merge-core/notebook/editor-cells.ts";
import { progressText } from "../jobs/job.ts";
import { isUnfinished, type Job, type Jobs } from "../jobs/jobs.ts";
import { memoryOptions, threadOptions } from "../settings.ts";
import { isFaithful, runnable } from "./runnable.ts";

export interface CellJob {
  readonly jobs: Jobs;
  /** Where the text is kept while the job needs it. */
  readonly storage: string;
  /** The notebook's path. */
  readonly file: string;
  readonly cells: readonly EditorCell[];
  /** Among all cells, Markdown included. */
  readonly index: number;
  readonly token: vscode.CancellationToken;
  readonly onProgress: (text: string) => void;
}

/** Runs the cell as it stands in the editor, saved or not. Undefined if it was interrupted. @throws WeightsmithError what kept it from running */
export async function runCell(request: CellJob): Promise<CellOutput | undefined> {
  const { jobs, file, cells, index, token } = request;
  const { text, number } = runnable(cells, index);
  if (!isFaithful(cells, text)) throw inputError("notebook-fences", "text cells hold fences that would be cells", { remedy: "write the cells as cells" });
  const folder = join(request.storage, "notebooks");
  const source = join(folder, `${randomUUID()}.md`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(source, text);
  const cell = cells[index];
  // Problems are told by the name that a user sees.
  const args = [basename(file), "--cell", String(number), "--source", source, ...threadOptions(), ...memoryOptions()];
  const title = `${basename(file)} ${cell?.kind ?? ""} ${cell?.name ?? number}`;
  const { id } = jobs.start({ verb: "run", title, args, cwd: dirname(file), input: file });
  const stop = token.onCancellationRequested(() => jobs.cancel(id));
  try {
    if (token.isCancellationRequested) jobs.cancel(id);
    return resultOf(await ended(jobs, id, request.onProgress), jobs);
  } finally {
    stop.dispose();
    rmSync(source, { force: true });
  }
}

function ended(jobs: Jobs, id: string, onProgress: (text: string) => void): Promise<Job | undefined> {
  return new Promise((resolve) => {
    const look = () => {
      const job = jobs.find(id);
      if (job !== undefined && isUnfinished(job)) {
        const { progress, first } = job;
        onProgress(
          job.status === "queued"
            ? vscode.l10n.t("waiting for another run")
            : progress === undefined
              ? ""
              : progressText(progress, first ?? { done: 0, atMs: Date.now() }, Date.now()),
        );
        return;
      }
      subscription.dispose();
      resolve(job);
    };
    const subscription = jobs.onDidChange(look);
    look();
  });
}

function resultOf(job: Job | undefined, jobs: Jobs): CellOutput | undefined {
  if (job === undefined || job.status === "cancelled") return undefined;
  if (job.status !== "done")
    throw new WeightsmithError(
      job.diagnostics.length > 0 ? job.diagnostics : [{ code: "job-died", severity: "error", message: "the run ended without a result" }],
    );
  const { cells } = JSON.parse(jobs.resultOf(job.record.id)) as { cells: readonly CellResult[] };
  return cells[0]?.output;
}
