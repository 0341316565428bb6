// weightsmith population: adapters as points of a space.
import { readFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { openError } from "../bytes/file-source.ts";
import { inputError } from "../diagnostics.ts";
import { isRecord, parseJsonBytes } from "../formats/json.ts";
import { direction, moved, project, samplePoint, writePoint } from "../population/edit.ts";
import { fitPopulation } from "../population/fit.ts";
import { openSpace, type Space } from "../population/space.ts";
import type { Command } from "./command.ts";
import { type Arguments, flag, number, type OptionSpec, OVERWRITE, positionals, SEED, text, usage } from "./options.ts";
import { formatTable } from "./output.ts";

const OUTPUT: OptionSpec = { name: "output", short: "o", type: "string", value: "OUT", doc: "the folder to make" };
const REST: OptionSpec = { name: "keep-rest", type: "flag", doc: "keep what of the adapter lies outside of the space" };
const COMPONENTS: OptionSpec = { name: "components", type: "integer", value: "K", doc: "use only the first K components" };

const fit: Command = {
  name: "population fit",
  summary: "principal components of many adapters",
  usage: "ADAPTER... -o SPACE",
  help: `
Standardises every weight over the adapters and finds the principal components of what is left, by the Gram matrix of the
adapters. They must have the same tensors and settings, and have started from the same factors; for others there is --canonical.

  weightsmith population fit ./loras/* -o ./space
  weightsmith population fit ./loras/* -o ./space --components 20 --canonical`,
  options: [OUTPUT, COMPONENTS, { name: "canonical", type: "flag", doc: "replace factors by those of the decomposition of their product first" }, OVERWRITE],
  async run(args, { output, signal }) {
    const space = await fitPopulation({
      adapters: args.positionals,
      out: outOf(args),
      components: componentsOf(args),
      canonical: flag(args, "canonical"),
      overwrite: flag(args, "overwrite"),
      signal,
      onProgress: (done, total, detail) => output.progress({ stage: "population", done, total, unit: "items", detail }),
    });
    let sum = 0;
    const rows = space.explained.map((share, k) => {
      sum += share;
      return [`${k + 1}`, shown(space.singular[k] ?? 0), shown(share), shown(sum)];
    });
    const { out, members, singular, explained, canonical } = space;
    output.result(
      { out, members, singular, explained, canonical },
      `${formatTable(["component", "singular value", "explains", "together"], rows, [0, 1, 2, 3])}\n${out}`,
    );
  },
};

const projectCommand: Command = {
  name: "population project",
  summary: "where an adapter lies in a space",
  usage: "SPACE ADAPTER [-o OUT]",
  help: `
Prints the coordinates of an adapter and how much of it lies outside of the space. With -o it writes the adapter of that point.

  weightsmith population project ./space ./lora -o ./projected`,
  options: [OUTPUT, OVERWRITE],
  async run(args, { output, signal }) {
    const [folder = "", adapter = ""] = positionals(args, ["SPACE", "ADAPTER"]);
    await withSpace(folder, async (space) => {
      const { point, residual } = await project(space, adapter, signal);
      const out = text(args, "output");
      const report = { command: "population project", space: folder, adapter };
      const about = `\`${adapter}\` projected into the space of ${space.members.length} adapters with \`weightsmith population project\`.`;
      if (out !== undefined) output.diagnostics(await writePoint(space, point, { out, overwrite: flag(args, "overwrite"), about, report, signal }));
      const rows = [...point].map((x, k) => [`${k + 1}`, shown(x)]);
      output.result(
        { point: [...point], residual, ...(out === undefined ? {} : { out }) },
        `${formatTable(["component", "coordinate"], rows, [0, 1])}\noutside of the space: ${shown(residual)} of the norm`,
      );
    });
  },
};

const edit: Command = {
  name: "population edit",
  summary: "move an adapter along the direction of labels",
  usage: "SPACE ADAPTER --labels FILE -o OUT",
  help: `
Fits a linear classifier to labels of the space's members and moves an adapter along its direction. FILE is a JSON object that
gives each member, by its path or the last part of it, a number, usually -1 or 1. The strength counts in standard deviations of
the members along the direction. --away takes the direction of other labels out, so that what they mean stays.

  weightsmith population edit ./space ./lora --labels smiles.json --strength 2 -o ./smiling
  weightsmith population edit ./space ./lora --labels smiles.json --away age.json --strength -1.5 --keep-rest -o ./serious`,
  options: [
    OUTPUT,
    { name: "labels", type: "string", value: "FILE", doc: "a number for each member" },
    { name: "away", type: "string", value: "FILE", doc: "labels whose direction is taken out" },
    { name: "strength", type: "string", value: "S", doc: "how far, in standard deviations (default: 1)" },
    COMPONENTS,
    REST,
    OVERWRITE,
  ],
  async run(args, { output, signal }) {
    const [folder = "", adapter = ""] = positionals(args, ["SPACE", "ADAPTER"]);
    const [out, labels, away] = [outOf(args), text(args, "labels"), text(args, "away")];
    if (labels === undefined) throw usage("no labels are named", { expected: "--labels FILE" });
    const strength = realOf(args, "strength", 1);
    await withSpace(folder, async (space) => {
      const components = componentsOf(args);
      const limited = components === undefined ? {} : { components };
      const other = away === undefined ? {} : { away: direction(space, await readLabels(away, space), limited) };
      const along = direction(space, await readLabels(labels, space), { ...limited, ...other });
      const { point, residual } = await project(space, adapter, signal);
      const target = moved(point, along, strength);
      const report = { command: "population edit", space: folder, adapter, labels, away: away ?? null, strength, keepRest: flag(args, "keep-rest") };
      const about = `\`${adapter}\` moved by ${strength} standard deviations along the direction of \`${labels}\` with \`weightsmith population edit\`.`;
      const rest = flag(args, "keep-rest") ? { adapter, from: point } : undefined;
      output.diagnostics(await writePoint(space, target, { out, overwrite: flag(args, "overwrite"), about, report, rest, signal }));
      output.result(
        { out, direction: [...along.unit], spread: along.spread, from: [...point], to: [...target], residual },
        `${out}: moved by ${shown(strength * along.spread)}; ${shown(residual)} of the adapter's norm lies outside of the space${rest === undefined ? " and is left out" : " and is kept"}`,
      );
    });
  },
};

const sample: Command = {
  name: "population sample",
  summary: "new adapters by chance",
  usage: "SPACE -o OUT",
  help: `
Draws each coordinate from a normal distribution with the members' mean and deviation, and writes the adapter of that point.

  weightsmith population sample ./space -o ./new --seed 3 --factor 0.8`,
  options: [OUTPUT, SEED, { name: "factor", type: "string", value: "F", doc: "multiplies the deviation (default: 1)" }, OVERWRITE],
  async run(args, { output, signal }) {
    const [folder = ""] = positionals(args, ["SPACE"]);
    const [out, seed, factor] = [outOf(args), number(args, "seed") ?? 0, realOf(args, "factor", 1)];
    await withSpace(folder, async (space) => {
      const point = samplePoint(space, seed, factor);
      const report = { command: "population sample", space: folder, seed, factor };
      const about = `Drawn from the space of ${space.members.length} adapters with \`weightsmith population sample\`, seed ${seed}.`;
      output.diagnostics(await writePoint(space, point, { out, overwrite: flag(args, "overwrite"), about, report, signal }));
      output.result({ out, seed, factor, point: [...point] }, out);
    });
  },
};

const subcommands: readonly Command[] = [fit, projectCommand, edit, sample];

export const population: Command = {
  name: "population",
  summary: "treat many adapters as a space: components, edits, samples",
  usage: `${subcommands.map(({ name }) => name.split(" ")[1]).join("|")} ...`,
  help: `
weights2weights (arXiv 2406.09413): many adapters of one shape span a space in which adapters can be edited along what labels
say, and drawn anew.

${subcommands.map(({ name, usage, summary }) => `  weightsmith ${`${name} ${usage}`.padEnd(60)} ${summary}`).join("\n")}`,
  options: [],
  subcommands,
  async run() {
    throw inputError("usage", "which population command?", {
      expected: subcommands.map(({ name }) => name).join(", "),
      remedy: "see weightsmith population --help",
    });
  },
};

function outOf(args: Arguments): string {
  const out = text(args, "output");
  if (out === undefined) throw usage("no output is named", { expected: "-o OUT" });
  return out;
}

function componentsOf(args: Arguments): number | undefined {
  const count = number(args, "components");
  if (count === 0) throw usage("option --components must be at least 1", { found: "0" });
  return count;
}

function realOf(args: Arguments, name: string, fallback: number): number {
  const given = text(args, name);
  const value = given === undefined ? fallback : Number(given);
  if (given?.trim() !== "" && Number.isFinite(value)) return value;
  throw usage(`option --${name} is not a number`, { found: given ?? "" });
}

async function withSpace(folder: string, use: (space: Space) => Promise<void>): Promise<void> {
  const space = await openSpace(folder);
  try {
    await use(space);
  } finally {
    await space.close();
  }
}

/** One number for each member, in their order. @throws WeightsmithError `population-labels` */
async function readLabels(file: string, { members }: Space): Promise<number[]> {
  const bytes = await readFile(file).catch((error: unknown) => {
    throw openError(file, error);
  });
  const json = parseJsonBytes(bytes, file, { maxBytes: 100_000_000, maxDepth: 4 });
  const labels = isRecord(json) ? json : {};
  return members.map((member) => {
    const found = labels[member] ?? labels[basename(resolve(member))];
    if (typeof found === "number") return found;
    throw inputError("population-labels", `there is no label for ${member}`, {
      file,
      found: JSON.stringify(found) ?? "nothing",
      expected: `{"${basename(join(member))}": 1, ...}`,
    });
  });
}

const shown = (value: number): string => Number(value.toPrecision(5)).toString();
