import assert from "node:assert/strict";
import { anglesOf, fromAngles, runBayesianMap } from "../../merge-core/pareto/bayesian-map.ts";
import { generationalDistance } from "../../merge-core/pareto/front-measures.ts";
import { type MapProblem, runMap, spread } from "../../merge-core/pareto/map.ts";
import { runNestedMap } from "../../merge-core/pareto/nested-map.ts";

/** Cost i is the squared distance to corner i of the box: the front lies on the simplex between the corners. */
const corners = [
  [1, 0],
  [0, 1],
];
const costs = (x: readonly number[]) => corners.map((corner) => corner.reduce((sum, c, i) => sum + (c - (x[i] ?? 0)) ** 2, 0));

interface Log {
  readonly points: (readonly number[])[];
  readonly kinds: string[];
}

function toy(log: Log, measure = (x: readonly number[]): number[] | undefined => costs(x)): MapProblem {
  return {
    box: { low: [0, 0], high: [1, 1] },
    directions: ["minimize", "minimize"],
    links: ["identity", "identity"],
    async measure(points, { kind, objectives = [0, 1] }) {
      log.points.push(...points);
      log.kinds.push(...points.map(() => kind));
      return points.map((x) => {
        const all = measure(x);
        return all && objectives.map((i) => all[i] ?? Number.NaN);
      });
    },
  };
}

const newLog = (): Log => ({ points: [], kinds: [] });
const truth = Array.from({ length: 501 }, (_, i) => costs([i / 500, 1 - i / 500]));

describe("MAP", () => {
  for (const [name, run] of [
    ["MAP", runMap],
    ["Bayesian MAP", runBayesianMap],
  ] as const) {
    it(`${name} finds the closed-form front of two quadratics, and its surrogates are exact there`, async () => {
      const log = newLog();
      const { front, surrogates } = await run(toy(log), { samples: 12, front: 15, seed: 1 });
      const values = front.map((point) => point.values);
      assert.ok(generationalDistance(values, truth) < 5e-3, `${generationalDistance(values, truth)}`);
      assert.ok(generationalDistance(truth, values) < 0.08, `${generationalDistance(truth, values)}`);
      assert.deepEqual(log.kinds, [...new Array<string>(12).fill("sample"), ...new Array<string>(15).fill("front")]);
      for (const { frontError, fitError } of surrogates) assert.ok(fitError < 1e-6 && (frontError ?? 1) < 1e-6);
    });
  }

  it("says how far off a surrogate is where the measure is no quadratic", async () => {
    const problem = toy(newLog(), ([x = 0, y = 0]) => [Math.sin(9 * x) + y, x - y]);
    const { surrogates } = await runMap(problem, { samples: 12, front: 5, seed: 1 });
    assert.ok((surrogates[0]?.frontError ?? 0) > 0.1, `${surrogates[0]?.frontError}`);
    assert.ok((surrogates[1]?.frontError ?? 1) < 1e-6);
  });

  it("goes on past trials that fail, and refuses only if all do", async () => {
    const log = newLog();
    let count = 0;
    const { front } = await runMap(
      toy(log, (x) => (count++ % 3 === 1 ? undefined : costs(x))),
      { samples: 15, front: 9, seed: 2 },
    );
    assert.equal(front.length, 6);
    assert.ok(
      generationalDistance(
        front.map((point) => point.values),
        truth,
      ) < 5e-3,
    );
    await assert.rejects(
      runMap(
        toy(newLog(), () => undefined),
        { samples: 6, front: 3, seed: 2 },
      ),
      { code: "search-nothing-measured" },
    );
  });

  it("Bayesian and Nested MAP go on past a whole round that fails", async () => {
    // Of six samples six come later, in rounds of one or two; nested MAP measures the models alone first, and checks two points last.
    let count = 0;
    const log = newLog();
    const late = toy(log, (x) => (++count > 6 && count < 13 ? undefined : costs(x)));
    const { front } = await runBayesianMap(late, { samples: 12, front: 4, seed: 1 });
    assert.equal(front.length, 4);
    count = 0;
    const nested = toy(newLog(), (x) => (++count <= 2 || count > 22 ? undefined : costs(x)));
    const found = await runNestedMap(nested, { samples: 0, front: 0, seed: 3, preference: [0.5, 0.5] });
    assert.ok(Math.hypot((found[0] ?? 0) - 0.5, (found[1] ?? 0) - 0.5) < 0.2, `${found}`);
  });

  it("Bayesian MAP measures where its surrogates are wrong", async () => {
    const angle = ([x = 0, y = 0]: readonly number[]) => Math.atan2(y, x);
    const inSector = (x: readonly number[]) => angle(x) < Math.PI / 8;
    const log = newLog();
    const rough = (x: readonly number[]) => costs(x).map((cost) => cost + (inSector(x) ? Math.sin(40 * Math.hypot(...x)) : 0));
    await runBayesianMap(toy(log, rough), { samples: 60, front: 1, seed: 5 });
    const share = log.points.slice(30, 60).filter(inSector).length / 30;
    assert.ok(share > 0.7, `${share}`);
  });

  it("Bayesian MAP goes to directions that it has not measured yet", async () => {
    let fresh = 0;
    for (let seed = 0; seed < 20; seed++) {
      const log = newLog();
      await runBayesianMap(toy(log), { samples: 6, front: 1, seed });
      // The first three are the ends and the origin: nothing lies between the axes.
      fresh += log.points.slice(3, 6).filter(([x = 0, y = 0]) => Math.abs(Math.atan2(y, x) - Math.PI / 4) < Math.PI / 8).length;
    }
    assert.ok(fresh >= 30, `${fresh} of 60`);
  });

  it("Nested MAP merges the models first that alone are as good as each other", async () => {
    const offsets = [0, 5, 0.1];
    const points: (readonly number[])[] = [];
    const problem: MapProblem = {
      box: { low: [0, 0, 0], high: [1, 1, 1] },
      directions: offsets.map(() => "minimize"),
      links: offsets.map(() => "identity"),
      async measure(asked, { objectives = [0, 1, 2] }) {
        points.push(...asked);
        return asked.map((x) => objectives.map((i) => (offsets[i] ?? 0) + x.reduce((sum, v, k) => sum + (v - (k === i ? 1 : 0)) ** 2, 0)));
      },
    };
    await runNestedMap(problem, { samples: 0, front: 0, seed: 3, preference: [1, 1, 1] });
    for (const [, second] of points.slice(3, 23)) assert.equal(second, 0);
    assert.ok(points.slice(25).some(([, second = 0]) => second > 0));
  });

  it("Nested MAP searches as far as its ranges reach", async () => {
    const far = (x: readonly number[]) => [((x[0] ?? 0) - 1.6) ** 2, ((x[1] ?? 0) - 0.5) ** 2];
    const problem = { ...toy(newLog(), far), box: { low: [0, 0], high: [2, 1] } };
    const found = await runNestedMap(problem, { samples: 0, front: 0, seed: 3, preference: [0.5, 0.5] });
    assert.ok(Math.abs((found[0] ?? 0) - 1.6) < 0.15, `${found}`);
  });

  it("Nested MAP merges to the point that the preference asks for", async () => {
    // Weighted costs w1 |x - e1|^2 + w2 |x - e2|^2 are least at x = (w1, w2).
    const log = newLog();
    const found = await runNestedMap(toy(log), { samples: 0, front: 0, seed: 3, preference: [0.25, 0.75] });
    assert.ok(Math.hypot((found[0] ?? 0) - 0.25, (found[1] ?? 0) - 0.75) < 0.06, `${found}`);
    assert.equal(log.kinds.at(-1), "front");
    assert.deepEqual(log.points.at(-1), found);
  });

  it("Nested MAP needs one objective for each model", async () => {
    const problem = { ...toy(newLog()), directions: ["minimize" as const] };
    await assert.rejects(runNestedMap(problem, { samples: 0, front: 0, seed: 3, preference: [1] }), { code: "search-nested-shape" });
  });

  it("keeps the ends of a front and spreads between them", () => {
    const line = Array.from({ length: 11 }, (_, i) => [i, 10 - i]);
    assert.deepEqual(
      spread(line, 3).sort((a, b) => a - b),
      [0, 5, 10],
    );
    assert.deepEqual(spread(line, 20).length, 11);
  });

  it("directions survive the way to angles and back", () => {
    const u = [0.5, 0.1, 0.7, 0.5];
    const back = fromAngles(anglesOf(u));
    for (const [i, x] of back.entries()) assert.ok(Math.abs(x - (u[i] ?? 0)) < 1e-12);
  });
});
