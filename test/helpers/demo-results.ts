import type { DemoResults } from "../../merge-core/evaluate/demo-results.ts";

/** Results in the shape of the demo's, with numbers that are easy to work with by hand. */
export function sampleResults(): DemoResults {
  const model = (name: string, kind: "base" | "expert" | "merge", sort: number, add: number, more = {}) => ({
    name,
    kind,
    ...more,
    exactMatch: { sort, add },
    mean: (sort + add) / 2,
  });
  return {
    format: "weightsmith-demo",
    weightsmith: "0.0.0",
    tasks: ["sort", "add"],
    examples: { sort: 10, add: 10 },
    models: [
      model("base", "base", 0.2, 0.1),
      model("sort", "expert", 1, 0, { task: "sort" }),
      model("add", "expert", 0.1, 0.9, { task: "add" }),
      model("linear", "merge", 0.6, 0.45, { method: "linear" }),
      model("ties", "merge", 0.8, 0.7, { method: "ties" }),
    ],
    tradeOff: {
      method: "linear",
      tasks: ["sort", "add"],
      points: [
        { weight: 0, exactMatch: { sort: 1, add: 0 } },
        { weight: 1, exactMatch: { sort: 0.1, add: 0.9 } },
      ],
    },
    recipes: { linear: "merge_method: linear\n", ties: "merge_method: ties\n" },
  };
}
