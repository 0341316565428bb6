// Results of searches, made up.
import type { Direction, FrontFile, FrontPoint } from "../../merge-core/pareto/front-file.ts";
import { summariseFront } from "../../merge-core/pareto/summarise-front.ts";

const NAMES = ["first", "second", "third", "fourth"];

function file(points: readonly FrontPoint[], directions: readonly Direction[], reference: readonly number[] | undefined, coefficients: number): FrontFile {
  return {
    format: "weightsmith-pareto",
    version: 1,
    weightsmith: "0.0.0",
    config: { file: "/search/search.yml", text: "" },
    method: "map",
    seed: 0,
    objectives: directions.map((direction, i) => ({ name: NAMES[i] ?? "", direction, metric: "exact_match", source: `${NAMES[i]}.jsonl` })),
    coefficients: Array.from({ length: coefficients }, (_, i) => ({ name: `weight ${i + 1}`, range: [0, 1] })),
    ...summariseFront(points, directions, reference),
    surrogates: [],
  };
}

/** Measured settings with these values. */
export function frontOf(values: readonly (readonly number[])[], directions: readonly Direction[], reference?: readonly number[]): FrontFile {
  const points = values.map((measured, i): FrontPoint => {
    const coefficients = [i / values.length, 1 - i / values.length];
    return { id: `sample-${i + 1}`, kind: "sample", coefficients, values: measured, evaluated: true, status: "done", onFront: false };
  });
  return file(points, directions, reference, 2);
}

/** A front as a search leaves it, seeded: two coefficients, two or three objectives, baselines, predictions and a failure. */
export function randomFront(count: number, objectives: 2 | 3): FrontFile {
  let state = 1;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const truth = ([a = 0, b = 0]: readonly number[]) =>
    [1 - (a - 0.8) ** 2 - (b - 0.1) ** 2 / 2, 1 - (b - 0.9) ** 2 - 0.4 * (a - 0.2) ** 2, 0.5 + 0.4 * a + 0.6 * b].slice(0, objectives);
  const points = Array.from({ length: count }, (_, i): FrontPoint => {
    const coefficients = [random(), random()];
    const predicted = truth(coefficients);
    const kind = i % 5 === 4 ? "prediction" : i % 7 === 6 ? "front" : "sample";
    const values = predicted.map((value) => (kind === "prediction" ? null : value + 0.03 * (random() - 0.5)));
    const said = kind === "sample" ? {} : { predicted };
    return {
      id: `${kind}-${i + 1}`,
      kind,
      coefficients,
      values,
      ...said,
      evaluated: kind !== "prediction",
      status: kind === "prediction" ? "predicted" : "done",
      onFront: false,
    };
  });
  const baselines = ["base", "math", "code", "average"].map((label, i): FrontPoint => {
    const values = [0.2 + 0.2 * i, 0.8 - 0.2 * i, 1].slice(0, objectives);
    return { id: `baseline-${i + 1}`, kind: "baseline", label, values, evaluated: true, status: "done", onFront: false };
  });
  const none = new Array<null>(objectives).fill(null);
  const failed: FrontPoint = {
    id: "sample-failed",
    kind: "sample",
    coefficients: [0.5, 0.5],
    values: none,
    evaluated: false,
    status: "failed",
    error: "out of memory",
    onFront: false,
  };
  const directions: Direction[] = ["maximize", "maximize", "minimize"].slice(0, objectives) as Direction[];
  const coefficients = [
    [0.355, 1.6, 0.1, -1, 0, -0.5],
    [0.174, 0.16, 1.8, -0.4, 0, -1],
    [0.5, 0.4, 0.6, 0, 0, 0],
  ].slice(0, objectives);
  return {
    ...file([...baselines, ...points, failed], directions, undefined, 2),
    surrogates: coefficients.map((weights, i) => ({
      objective: NAMES[i] ?? "",
      link: "identity",
      coefficients: weights,
      fitError: 0.01,
      frontError: i === 1 ? null : 0.02,
      points: 20,
    })),
  };
}
