// A plan as text for people: models, parameters by group of tensors, output files, and what it will cost.
import { formatDiagnostic } from "../diagnostics.ts";
import { formatBytes, formatDuration } from "../units.ts";
import { estimateSeconds, type Machine } from "./estimate-time.ts";
import type { MergePlan, TensorJob } from "./plan.ts";

/** Groups of tensors listed before the rest is only counted. */
const MAX_GROUPS = 60;

/** Lines of text, the last without a line break. @param machine what the time is estimated for; without it none is told */
export function formatPlan(plan: MergePlan, machine?: Machine): string {
  const sections = [
    [`${plan.method} of ${plan.models.length} ${plan.models.length === 1 ? "model" : "models"}, seed ${plan.seed}, plan ${plan.planHash.slice(0, 12)}`],
    plan.models.map(({ reference, folder, files }) => `  ${reference}: ${formatBytes(files.reduce((sum, f) => sum + f.sizeBytes, 0))} in ${folder}`),
    ["", "tensors"],
    groupLines(plan.jobs),
    ["", "output"],
    outputLines(plan),
    machine === undefined ? [] : [timeLine(plan, machine)],
    ["", ...plan.findings.map(formatDiagnostic)],
  ];
  return sections.flat().join("\n").trimEnd();
}

function timeLine(plan: MergePlan, machine: Machine): string {
  const { threads, diskBytesPerSecond } = machine;
  const time = formatDuration(estimateSeconds(plan, machine));
  return `  takes about ${time} where the disk does ${formatBytes(diskBytesPerSecond)} in a second, on ${threads} ${threads === 1 ? "thread" : "threads"}`;
}

function outputLines(plan: MergePlan): string[] {
  const { shards, donor, tokenizer, config } = plan;
  const names = shards.length === 1 ? (shards[0]?.file ?? "") : `${shards[0]?.file} to ${shards.at(-1)?.file}`;
  const changes = config.map(({ path, value }) => `${path.join(".")} = ${JSON.stringify(value)}`);
  return [
    `  ${names}: ${plan.jobs.length} tensors, ${formatBytes(plan.bytesToWrite)}`,
    `  ${[...(donor.hasConfig ? ["config.json"] : []), ...donor.files].join(", ") || "no other files"} from ${donor.reference}`,
    ...(tokenizer === undefined
      ? []
      : [
          `  ${tokenizer.files.join(", ") || "no tokenizer files"} of ${tokenizer.reference}, ${tokenizer.added.length} tokens added${tokenizer.chatTemplate === undefined ? "" : ", chat template set"}`,
        ]),
    ...(changes.length === 0 ? [] : [`  changed in config.json: ${changes.join(", ")}`]),
    `  reads ${formatBytes(plan.bytesToRead)}, writes ${formatBytes(plan.bytesToWrite)}, needs ${formatBytes(plan.peakMemoryBytes)} of memory and ${formatBytes(plan.diskBytes)} of disk`,
  ];
}

/** One line per set of parameters, in the order of the output. */
function groupLines(jobs: readonly TensorJob[]): string[] {
  const groups = new Map<string, TensorJob[]>();
  for (const job of jobs) {
    const text = treatment(job);
    const group = groups.get(text);
    if (group === undefined) groups.set(text, [job]);
    else group.push(job);
  }
  const lines = [...groups].map(
    ([text, members]) => `  ${describeNames(members)} (${members.length}, ${formatBytes(members.reduce((sum, j) => sum + j.byteLength, 0))}): ${text}`,
  );
  const rest = lines.length - MAX_GROUPS;
  return rest > 0 ? [...lines.slice(0, MAX_GROUPS), `  and ${rest} more groups with other parameters`] : lines;
}

function treatment(job: TensorJob): string {
  if (job.kind === "copy") return `${job.dtype}, copied`;
  const shared = formatParameters(job.parameters);
  const inputs = job.inputs.map(({ model, isBase, parameters }) => [isBase ? `base ${model}` : model, formatParameters(parameters)].filter(Boolean).join(" "));
  return [`${job.method} to ${job.dtype}${shared && `, ${shared}`}`, ...inputs].join("; ");
}

function formatParameters(parameters: Readonly<Record<string, number | null>>): string {
  return Object.entries(parameters)
    .filter((entry): entry is [string, number] => entry[1] !== null)
    .map(([name, value]) => `${name} ${Number(value.toPrecision(6))}`)
    .join(" ");
}

/** The names with their layer numbers as ranges, the first two kinds of them. */
function describeNames(jobs: readonly TensorJob[]): string {
  const kinds = new Map<string, number[]>();
  for (const { name } of jobs) {
    const number = /\.(\d+)\./.exec(name)?.[1];
    const kind = number === undefined ? name : name.replace(`.${number}.`, ".*.");
    kinds.set(kind, [...(kinds.get(kind) ?? []), Number(number ?? 0)]);
  }
  const shown = [...kinds]
    .slice(0, 2)
    .map(([kind, layers]) => kind.replace("*", layers.length > 1 ? `${Math.min(...layers)}-${Math.max(...layers)}` : String(layers[0])));
  return kinds.size > 2 ? `${shown.join(", ")}, ...` : shown.join(", ");
}
