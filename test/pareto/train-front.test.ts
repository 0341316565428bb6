import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { disposeDecoder } from "../../merge-core/nn/load.ts";
import { loadModel } from "../../merge-core/nn/model.ts";
import { liveValues } from "../../merge-core/nn/storage.ts";
import { createWindow, gradientWeight, lossWeights, remember } from "../../merge-core/pareto/balance.ts";
import { createPalora, createPamal, type FrontModel } from "../../merge-core/pareto/front-model.ts";
import { monotonePenalty } from "../../merge-core/pareto/monotone-penalty.ts";
import { annealRays, dirichlet, evenRays } from "../../merge-core/pareto/preference-rays.ts";
import { RandomStream } from "../../merge-core/pareto/random-stream.ts";
import { trainFront } from "../../merge-core/pareto/train-front.ts";
import { readTrainFrontConfig } from "../../merge-core/pareto/train-front-config.ts";

const ZOO = resolve("media/zoo");
const close = (a: number, b: number, tolerance: number) => assert.ok(Math.abs(a - b) <= tolerance, `${a}, expected ${b}`);

describe("preference rays", () => {
  it("are even, sum to one and keep off the edge", () => {
    const rays = evenRays(2, 5);
    assert.deepEqual(
      rays.map(([a = 0]) => Number(a.toFixed(3))),
      [0.01, 0.255, 0.5, 0.745, 0.99],
    );
    assert.equal(evenRays(3, 7).length, 6);
    for (const ray of evenRays(3, 7))
      close(
        ray.reduce((a, b) => a + b, 0),
        1,
        1e-12,
      );
  });

  it("begin at the barycentre and end near the corners", () => {
    const rays = evenRays(2, 3);
    for (const ray of annealRays(rays, 0, 5)) assert.deepEqual(ray, [0.5, 0.5]);
    const [, middle = [], last = []] = annealRays(
      [
        [0.4, 0.6],
        [0.5, 0.5],
        [0.75, 0.25],
      ],
      1,
      2,
    );
    assert.deepEqual(middle, [0.5, 0.5]);
    // 0.75^2 : 0.25^2 = 9 : 1.
    close(last[0] ?? 0, 0.9, 1e-12);
  });

  it("drawn from a Dirichlet distribution have its mean and variance", () => {
    for (const p of [0.5, 1, 7]) {
      const random = new RandomStream(1, `dirichlet ${p}`);
      const first = Array.from({ length: 20_000 }, () => dirichlet(3, p, random)[0] ?? 0);
      const mean = first.reduce((a, b) => a + b, 0) / first.length;
      close(mean, 1 / 3, 0.01);
      // (1/3)(2/3) / (3p + 1)
      close(first.reduce((sum, x) => sum + (x - mean) ** 2, 0) / first.length, 2 / 9 / (3 * p + 1), 0.004);
    }
  });
});

describe("the penalty for losses that rise with their weight", () => {
  const rays = [
    [0.1, 0.9],
    [0.5, 0.5],
    [0.9, 0.1],
  ];

  it("is nothing where more weight means less loss", () => {
    const { value, slopes } = monotonePenalty(rays, [
      [3, 1],
      [2, 2],
      [1, 3],
    ]);
    assert.equal(value, 0);
    assert.deepEqual(slopes.flat(), [0, 0, 0, 0, 0, 0]);
  });

  it("is the formula where it does not, with the slopes of finite differences", () => {
    const losses = [
      [1, 1.5],
      [2, 2.1],
      [1.2, 1.8],
    ];
    // Task 0 rises by 1 once in two pairs; task 1 by 0.3 once.
    close(monotonePenalty(rays, losses).value, Math.log((Math.E + 1) / 2) + Math.log((Math.exp(0.3) + 1) / 2), 1e-12);
    const { slopes } = monotonePenalty(rays, losses);
    for (const j of rays.keys())
      for (const t of [0, 1]) {
        const at = (h: number) =>
          monotonePenalty(
            rays,
            losses.map((row, i) => row.map((x, k) => (i === j && k === t ? x + h : x))),
          ).value;
        close(slopes[j]?.[t] ?? 0, (at(1e-5) - at(-1e-5)) / 2e-5, 1e-8);
      }
  });
});

describe("balance between tasks", () => {
  it("weighs a task by one less its share of the last 25 losses", () => {
    const window = createWindow(3);
    assert.deepEqual(lossWeights(window, 3), [1, 1, 1]);
    remember(window, [9, 9, 9]);
    for (let i = 0; i < 25; i++) remember(window, [1, 2, 5]);
    // (1 - 1/8, 1 - 2/8, 1 - 5/8) * 3 / 2
    for (const [task, weight] of lossWeights(window, 3).entries()) close(weight, [1.3125, 1.125, 0.5625][task] ?? 0, 1e-12);
    for (const weight of lossWeights(Float64Array.from([...createWindow(2)].fill(3)), 2)) close(weight, 1, 1e-12);
  });

  it("divides a loss by its gradient's norm", () => close(gradientWeight(0.499), 2, 1e-12));
});

describe("parameters for every preference", () => {
  before(() => initBackend({ threads: 1 }));

  for (const method of ["pamal", "palora"] as const) {
    it(`${method} is the model itself at first, and hands gradients back exactly`, async () => {
      const model = await loadModel(join(ZOO, "base"));
      const front: FrontModel = method === "pamal" ? createPamal(model, 2) : createPalora(model, 2, { rank: 2, alpha: 4, seed: 1 });
      const name = "model.layers.1.mlp.up_proj.weight";
      const preference = [0.3, 0.7];
      const start = front.weightsAt(preference);
      const difference = tf.max(tf.abs(tf.sub(start.get(name) as tf.Tensor, model.decoder.weights.get(name) as tf.Tensor))).dataSync()[0] ?? 9;
      assert.ok(difference < 1e-6, `${difference}`);
      // With f(W) = sum(W * G), the gradient for W is G and that for a parameter p is df/dp: compared by moving all parameters a little.
      const gradients = new Map([...start].map(([key, tensor], i) => [key, tf.randomNormal(tensor.shape, 0, 1, "float32", i)]));
      const back = front.gradientsAt(preference, gradients);
      const moved = new Map([...front.parameters].map(([key, tensor], i) => [key, tf.randomNormal(tensor.shape, 0, 1, "float32", 1000 + i)]));
      const sumOf = (weights: ReadonlyMap<string, tf.Tensor>) =>
        [...weights].reduce((sum, [key, w]) => sum + (tf.sum(tf.mul(w, gradients.get(key) as tf.Tensor)).dataSync()[0] ?? 0), 0);
      const slope = [...back].reduce((sum, [key, g]) => sum + (tf.sum(tf.mul(g, moved.get(key) as tf.Tensor)).dataSync()[0] ?? 0), 0);
      const h = 1e-3;
      const shifted = (sign: number) => {
        for (const [key, tensor] of front.parameters) addInPlace(tensor, moved.get(key) as tf.Tensor, sign * h);
        const value = sumOf(front.weightsAt(preference));
        for (const [key, tensor] of front.parameters) addInPlace(tensor, moved.get(key) as tf.Tensor, -sign * h);
        return value;
      };
      close((shifted(1) - shifted(-1)) / (2 * h), slope, 0.02 * Math.abs(slope) + 1);
      front.dispose();
      disposeDecoder(model.decoder);
    });
  }
});

describe("the cosine between adapters", () => {
  it("is that of the products as vectors, with the gradient of finite differences", async () => {
    const model = await loadModel(join(ZOO, "base"));
    const front = createPalora(model, 3, { rank: 2, alpha: 4, seed: 1 });
    const factorsOf = (kind: string, task: number) => [...front.parameters].filter(([name]) => name.startsWith(`${kind}/${task}/`)).map(([, tensor]) => tensor);
    assert.equal(cosineOf(front), 0, "adapters begin at zero");
    for (const task of [0, 1, 2])
      for (const [i, tensor] of factorsOf("b", task).entries()) addInPlace(tensor, tf.randomNormal(tensor.shape, 0, 1, "float32", 100 * task + i), 0.1);
    const products = [0, 1, 2].map((task) =>
      factorsOf("b", task).flatMap((b, i) => [...tf.matMul(b as tf.Tensor2D, factorsOf("a", task)[i] as tf.Tensor2D).dataSync()]),
    );
    const dot = (x: readonly number[] = [], y: readonly number[] = []) => x.reduce((sum, value, i) => sum + value * (y[i] ?? 0), 0);
    const cosine = (s: number, t: number) => dot(products[s], products[t]) / Math.sqrt(dot(products[s], products[s]) * dot(products[t], products[t]));
    close(cosineOf(front), (cosine(0, 1) + cosine(0, 2) + cosine(1, 2)) / 3, 1e-6);
    const { gradients } = front.cosine?.() ?? { gradients: new Map<string, tf.Tensor>() };
    assert.equal(gradients.size, [...front.parameters.keys()].filter((name) => !name.startsWith("shared/")).length);
    // Along the gradient the cosine rises by its norm.
    const norm = Math.sqrt([...gradients.values()].reduce((sum, gradient) => sum + (tf.sum(tf.square(gradient)).dataSync()[0] ?? 0), 0));
    const at = (h: number) => {
      for (const [name, gradient] of gradients) addInPlace(front.parameters.get(name) as tf.Tensor, gradient, h / norm);
      const value = cosineOf(front);
      for (const [name, gradient] of gradients) addInPlace(front.parameters.get(name) as tf.Tensor, gradient, -h / norm);
      return value;
    };
    close((at(0.05) - at(-0.05)) / 0.1, norm, 0.02 * norm);
    front.dispose();
    disposeDecoder(model.decoder);
  });
});

const cosineOf = (front: FrontModel): number => front.cosine?.().value ?? Number.NaN;

describe("weightsmith train-front", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "weightsmith-front-"));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  for (const method of ["pamal", "palora"] as const) {
    it(`${method} gives a front along which each task gains with its weight`, async () => {
      const file = join(folder, `${method}.yml`);
      const task = (name: string) => `{ name: ${name}, train: ${ZOO}/data/${name}.validation.jsonl, validation: ${ZOO}/data/${name}.validation.jsonl }`;
      const more = method === "pamal" ? "regularizer: 1\nrays: 2\nbalance: full\n" : "rays: 2\nrank: 4\nalpha: 8\ncosine: 0.1\n";
      writeFileSync(
        file,
        `model: ${ZOO}/base\nmethod: ${method}\ntasks:\n  - ${task("sort")}\n  - ${task("add")}\nsteps: 16\nbatch_size: 8\nlr: 2e-3\nfront: 3\nlimit: 24\n${more}`,
      );
      const config = await readTrainFrontConfig(file);
      const { front } = await trainFront(config, join(folder, method), { threads: 1 });
      const values = front.points.map((point) => ({ first: point.coefficients?.[0] ?? 0, losses: point.values.map(Number) })).sort((a, b) => a.first - b.first);
      assert.deepEqual(
        values.map(({ first }) => first),
        [0, 0.5, 1],
      );
      const [add, , sort] = values;
      assert.ok((sort?.losses[0] ?? 9) < (add?.losses[0] ?? 0) && (add?.losses[1] ?? 9) < (sort?.losses[1] ?? 0), JSON.stringify(values));
      const stop = new AbortController();
      const onProgress = ({ done }: { done: number }) => void (done === 9 && stop.abort());
      const stopped = join(folder, `${method}-stopped`);
      await assert.rejects(trainFront(config, stopped, { threads: 1, signal: stop.signal, onProgress }));
      const steps: number[] = [];
      const resumed = await trainFront(config, stopped, {
        threads: 1,
        onProgress: ({ done, detail }) => void (detail.startsWith("training") && steps.push(done)),
      });
      assert.equal(steps[0], 10);
      assert.deepEqual(
        resumed.front.points.map((point) => point.values),
        front.points.map((point) => point.values),
      );
      assert.deepEqual(JSON.parse(readFileSync(join(stopped, "front-training.json"), "utf8")).engines, ["cpu"]);
      // Training done is not done again.
      const again = await trainFront(config, join(folder, method), { threads: 1 });
      assert.deepEqual(again.front, front);
    });
  }
});

function addInPlace(tensor: tf.Tensor, step: tf.Tensor, factor: number): void {
  const [values, steps] = [liveValues(tensor), step.dataSync<"float32">()];
  for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) + factor * (steps[i] ?? 0);
}
