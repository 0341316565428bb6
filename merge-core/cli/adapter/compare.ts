// weightsmith adapter compare: what to expect of a merge of adapters.
import { inputError } from "../../diagnostics.ts";
import { type AdapterComparison, compareAdapters, type PairMeasures } from "../../run/compare-adapters.ts";
import type { Command } from "../command.ts";
import { DOWNLOAD } from "../load-plan.ts";
import { MEMORY, number, THREADS, threads } from "../options.ts";
import { formatTable } from "../output.ts";
import { openBase } from "./merge.ts";

/** Modules that are printed; all are in the JSON. */
const WORST = 10;

export const compare: Command = {
  name: "adapter compare",
  summary: "show where adapters agree and contradict each other",
  usage: "ADAPTER ADAPTER... [--base MODEL]",
  help: `
Compares what adapters change before they are merged: for every two of them, over the modules that both have, the cosine of
the angle between their changes, the share of elements that they change in one direction, and the ratio of their norms;
and the modules in which they contradict each other most. Cosines near 0 promise a sum that keeps both, negative ones that
each takes from the other. The JSON has all modules, with norms and effective ranks (how many directions a change has).

  weightsmith adapter compare ./math ./code
  weightsmith adapter compare ./lora ./oft --base ./model --json`,
  options: [{ name: "base", type: "string", value: "MODEL", doc: "the base model, for families that adapter merge needs it for" }, MEMORY, THREADS, DOWNLOAD],
  async run(args, context) {
    const { output, signal } = context;
    const adapters = args.positionals;
    if (adapters.length < 2) throw inputError("usage", "it takes two adapters to compare", { expected: "ADAPTER ADAPTER...", remedy: "see --help" });
    const memoryBytes = number(args, "memory");
    const result = await compareAdapters({
      adapters,
      base: await openBase(args, context),
      threads: threads(args),
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
      signal,
      onProgress: (done, total, detail) => output.progress({ stage: "compare", done, total, unit: "items", detail }),
    });
    output.diagnostics(result.warnings);
    output.result(result, page(result));
  },
};

function page({ adapters, pairs, modules }: AdapterComparison): string {
  const named = ({ first, second }: PairMeasures) => [adapters[first] ?? "", adapters[second] ?? ""];
  const measures = ({ cosine, signAgreement, normRatio }: PairMeasures) => [fixed(cosine), percent(signAgreement), fixed(normRatio)];
  if (pairs.length === 0) return "no module is changed by two of them: they add up without touching each other";
  const all = formatTable(
    ["first", "second", "modules", "cosine", "one sign", "norms, second to first"],
    pairs.map((pair) => [...named(pair), String(pair.modules), ...measures(pair)]),
    [2, 3, 4, 5],
  );
  const single = modules.flatMap(({ module, pairs: own }) => own.map((pair) => ({ module, pair })));
  const worst = single.sort((x, y) => (x.pair.cosine ?? 0) - (y.pair.cosine ?? 0)).slice(0, WORST);
  const table = formatTable(
    ["module", "first", "second", "cosine", "one sign", "norms, second to first"],
    worst.map(({ module, pair }) => [module, ...named(pair), ...measures(pair)]),
    [3, 4, 5],
  );
  return `${all}\n\nwhere they contradict each other most:\n${table}`;
}

const fixed = (x: number | null): string => x?.toFixed(3) ?? "";
const percent = (x: number | null): string => (x === null ? "" : `${(100 * x).toFixed(1)} %`);
