// weightsmith adapter remove-slice: an adapter that has never seen some of its data.
import { inputError } from "../../diagnostics.ts";
import { type RemoveResult, removeSlices } from "../../slices/remove-slices.ts";
import type { Command } from "../command.ts";
import { flag, OVERWRITE } from "../options.ts";
import { outOf } from "./merge.ts";

export const removeSlice: Command = {
  name: "adapter remove-slice",
  summary: "take data out of an adapter that was trained in slices, exactly",
  usage: "ADAPTER SLICE... -o OUT",
  help: `
For adapters that were trained with slices (S3T; see weightsmith train --help). SLICE is the number or the file name of a
slice. Every part that has seen it is left out, and the longest chain of parts that has not becomes the adapter OUT: byte for
byte what training on the slices of that chain alone gives, without training. Nothing of the removed data is in OUT but its
name. ADAPTER stays as it is; delete it where the data must be gone.

  weightsmith adapter remove-slice ./sliced march.jsonl -o ./without-march`,
  options: [{ name: "out", short: "o", type: "string", value: "OUT", doc: "the folder to make" }, OVERWRITE],
  async run(args, { output, signal }) {
    const [adapter, ...slices] = args.positionals;
    if (adapter === undefined || slices.length === 0)
      throw inputError("usage", adapter === undefined ? "argument ADAPTER is missing" : "argument SLICE is missing", {
        expected: removeSlice.usage,
        remedy: "see --help",
      });
    const result = await removeSlices({ adapter, slices, out: outOf(args), overwrite: flag(args, "overwrite"), signal });
    output.diagnostics(result.warnings);
    output.result(result, report(result));
  },
};

function report({ out, removed, active, idle, partsDropped }: RemoveResult): string {
  const named = (slices: RemoveResult["active"]) => slices.map(({ number, name }) => `${number} (${name})`).join(", ");
  return [
    `${out}: trained on slices ${named(active)}, in this order`,
    `removed: ${named(removed)}; ${partsDropped} parts had seen ${removed.length === 1 ? "it" : "them"}`,
    ...(idle.length === 0 ? [] : [`not in use: ${named(idle)}, which no chain of parts has without what was removed`]),
  ].join("\n");
}
