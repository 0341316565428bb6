// One pass done in several ranges of elements: its results put together as if it had been one.
import { countsLength } from "./both-histograms.ts";
import type { PassResult } from "./passes.ts";
import type { Sink } from "./program.ts";

/** @param inputCount inputs from this on were added for the pass, and are not told of */
export function joinPasses(sinks: readonly Sink[], results: readonly PassResult[], inputCount: number): PassResult {
  return {
    used: [...new Set(results.flatMap(({ used }) => used))].filter((index) => index < inputCount),
    nonFinite: results.reduce((sum, { nonFinite }) => sum + nonFinite, 0),
    gathered: sinks.map((sink, i) =>
      joinGathered(
        sink,
        results.map(({ gathered }) => gathered[i] ?? new Float64Array(0)),
      ),
    ),
  };
}

/** What is gathered by block follows one range on the other; histograms add up. */
function joinGathered(sink: Sink, parts: readonly Float64Array[]): Float64Array {
  if (sink.kind === "reduce" || sink.kind === "countTies") return concatenate(parts);
  if (sink.kind !== "histogramBoth") return addUp(parts);
  const end = countsLength(sink);
  return concatenate([addUp(parts.map((part) => part.subarray(0, end))), ...parts.map((part) => part.subarray(end))]);
}

const addUp = (parts: readonly Float64Array[]): Float64Array =>
  (parts[0] ?? new Float64Array(0)).map((_, bin) => parts.reduce((sum, part) => sum + (part[bin] ?? 0), 0));

function concatenate(parts: readonly Float64Array[]): Float64Array {
  const joined = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
