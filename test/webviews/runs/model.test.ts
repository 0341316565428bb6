import assert from "node:assert/strict";
import { Window } from "happy-dom";
import { parseLog, thinSamples } from "../../../extension/panels/run-records.ts";
import { drawCurves } from "../../../webviews/charts/curves.ts";
import type { FollowedRun, TrainingRun } from "../../../webviews/protocol.ts";
import { atStep, METRICS, metricCurves, metricTable, parameterBudget, rateCurves, ratesOf, rateText, smooth, thin } from "../../../webviews/runs/model.ts";

const LOG = [1, 2, 3].map((step) =>
  JSON.stringify({ step, loss: 4 - step, lr: 1e-3, gradNorm: 1, tokensPerSecond: 100, ...(step === 2 ? { validationLoss: 2.5 } : {}) }),
);
const [LOSS, VALIDATION] = METRICS;

const training = (text: string, name = "a"): TrainingRun => ({ name, log: `/${name}/training-log.jsonl`, records: parseLog(text), running: false });
const options = { smoothing: 0, logarithmic: false, hidden: [] };

describe("training logs", () => {
  it("are read line by line; half lines, other lines and missing numbers do no harm", () => {
    const records = parseLog(`${LOG[0]}\nnot json\n{"step":"x"}\n{"step":2,"loss":null}\n[]\n${LOG[2]?.slice(0, 9)}`);
    assert.deepEqual(
      records.map(({ step, loss }) => [step, loss]),
      [
        [1, 3],
        [2, Number.NaN],
      ],
    );
    assert.deepEqual(parseLog(""), []);
  });

  it("give curves and a table with the numbers of the log", () => {
    const run = training(LOG.join("\n"));
    assert.deepEqual(metricCurves([run], LOSS, options).curves[0]?.points, [
      [1, 3],
      [2, 2],
      [3, 1],
    ]);
    assert.deepEqual(metricCurves([run], VALIDATION, options).curves[0]?.points, [[2, 2.5]]);
    assert.deepEqual(metricTable([run, training(LOG[1] ?? "", "b")], LOSS, []).rows, [
      ["1", "3", ""],
      ["2", "2", "2"],
      ["3", "1", ""],
    ]);
    assert.equal(metricCurves([run], LOSS, { ...options, hidden: [run.log] }).curves.length, 0);
    assert.match(atStep([run], 2, []), /Step 2\. a: loss 2, validation loss 2\.5, learning rate 0\.001/);
    assert.match(atStep([run], 9, []), /No run/);
  });

  it("keep a run's colour when another is hidden", () => {
    const runs = [training(LOG.join("\n")), training(LOG.join("\n"), "b")];
    assert.equal(metricCurves(runs, LOSS, { ...options, hidden: [runs[0]?.log ?? ""] }).curves[0]?.series, 1);
  });

  it("are drawn when all values are missing", () => {
    const svg = drawCurves(metricCurves([training('{"step":1,"loss":null}')], LOSS, { ...options, smoothing: 0.9, step: 1 }), {
      width: 320,
      document: new Window().document as unknown as Document,
    });
    assert.doesNotMatch(svg.outerHTML, /NaN|undefined/);
  });
});

describe("smoothing", () => {
  it("starts at the first value, weighs the past as told, and leaves gaps", () => {
    // Weights 1 and 1/2: (0.5 * 4 + 0.25 * 8) / 0.75.
    assert.deepEqual(
      smooth(
        [
          [0, 8],
          [1, 4],
        ],
        0.5,
      ),
      [
        [0, 8],
        [1, (0.5 * 4 + 0.25 * 8) / 0.75],
      ],
    );
    assert.deepEqual(
      smooth(
        [
          [0, 3],
          [1, 3],
          [2, Number.NaN],
          [3, 3],
        ],
        0.5,
      ).map(([, y]) => y),
      [3, 3, Number.NaN, 3],
    );
    assert.deepEqual(
      smooth(
        [
          [0, 1],
          [1, 5],
        ],
        0,
      ).map(([, y]) => y),
      [1, 5],
    );
  });

  it("loses no spike to thinning", () => {
    const points = Array.from({ length: 10_000 }, (_, x) => [x, x === 7777 ? 99 : Math.sin(x / 300)] as const);
    const kept = thin(points, 500);
    assert.ok(kept.length <= 500 && kept.some(([, y]) => y === 99));
    assert.ok(kept.every(([x], i) => i === 0 || x > (kept[i - 1]?.[0] ?? 0)));
    assert.equal(thin(points.slice(0, 10), 500).length, 10);
    assert.ok(
      thin(
        points.map(([x]) => [x, Number.NaN] as const),
        500,
      ).length > 0,
    );
  });
});

describe("runs", () => {
  const samples = Array.from({ length: 11 }, (_, i) => ({ seconds: i / 2, done: i * 2 ** 20, bytesRead: i * 3 * 2 ** 20, values: i * 1e6 }));
  const run: FollowedRun = { id: "1", title: "merge x", status: "running", text: "", unit: "bytes", fraction: 0.5, samples, diagnostics: [] };

  it("have rates over at least a second, and gaps where a count went back", () => {
    assert.deepEqual(ratesOf(samples, ({ done }) => done / 2 ** 20).slice(0, 2), [
      [1, 2],
      [2, 2],
    ]);
    assert.ok(
      Number.isNaN(
        ratesOf(
          [
            { seconds: 0, done: 5 },
            { seconds: 2, done: 1 },
          ],
          ({ done }) => done,
        )[0]?.[1],
      ),
    );
    assert.deepEqual(
      ratesOf([], ({ done }) => done),
      [],
    );
  });

  it("tell what is read, written and computed", () => {
    assert.equal(rateText(run), "read 6.00 MiB/s, written 2.00 MiB/s, computed 2 million values/s");
    assert.deepEqual(
      rateCurves(run).map(({ curves }) => curves.map(({ name }) => name)),
      [["read", "written"], ["computed"]],
    );
    const steps = { ...run, unit: "steps", samples: samples.map(({ seconds }) => ({ seconds, done: 4 * seconds })) };
    assert.equal(rateText(steps), "4 steps/s");
    assert.equal(rateText({ ...run, samples: [] }), "");
  });

  it("keep the shape of a long history", () => {
    const many = Array.from({ length: 1001 }, (_, i) => ({ seconds: i, done: i }));
    const kept = thinSamples(many);
    assert.equal(kept.length, 501);
    assert.equal(kept.at(-1)?.seconds, 1000);
  });
});

describe("parameter budget", () => {
  it("adds up by module", () => {
    const name = (module: string, factor: string) => `base_model.model.model.layers.0.${module}.lora_${factor}.weight`;
    const tensors = [
      { name: name("self_attn.q_proj", "A"), shape: [8, 64] },
      { name: name("self_attn.q_proj", "B"), shape: [64, 8] },
      { name: name("mlp.up_proj", "A"), shape: [8, 64] },
    ];
    const { total, rows } = parameterBudget({ ...training(""), tensors });
    assert.equal(total, 1536);
    assert.deepEqual(rows, [
      ["q_proj", "1,024"],
      ["up_proj", "512"],
    ]);
    assert.equal(parameterBudget(training("")).total, 0);
  });
});
