// Parameters that give a network for every preference a: PaMaL's members, W(a) = sum_t a_t W_t, and PaLoRA's adapters,
// W(a) = W + s sum_t a_t B_t A_t, W trained too. Gradients for W(a) are handed back to the parameters by hand: both are linear in a.
import * as tf from "@tensorflow/tfjs-core";
import { modulePath, PROJECTIONS } from "../nn/llama.ts";
import type { Model } from "../nn/model.ts";
import { uniforms } from "../nn/random.ts";

type Tensors = ReadonlyMap<string, tf.Tensor>;

export interface FrontModel {
  /** Changed in place by the optimiser; disposed by `dispose`. */
  readonly parameters: Tensors;
  /** Weights of the network for a preference; the caller disposes them. */
  weightsAt(preference: readonly number[]): Map<string, tf.Tensor>;
  /** From gradients of these weights to gradients of the parameters; the caller disposes both. */
  gradientsAt(preference: readonly number[], gradients: Tensors): Map<string, tf.Tensor>;
  /** The mean cosine between the changes of different tasks, with gradients of the parameters; absent where there are no such changes. */
  cosine?(): { readonly value: number; readonly gradients: Map<string, tf.Tensor> };
  /** A parameter's learning rate as a multiple of the run's. */
  rateOf(name: string): number;
  dispose(): void;
}

/** All members start as the model; the paper starts from independent random networks, which a trained model makes needless. */
export function createPamal({ decoder }: Model, tasks: number): FrontModel {
  const names = [...decoder.weights.keys()];
  const memberOf = (task: number, name: string) => `${task}/${name}`;
  const parameters = new Map(
    Array.from({ length: tasks }, (_, task) =>
      [...decoder.weights].map(([name, tensor]) => [memberOf(task, name), tf.tensor(tensor.dataSync<"float32">().slice(), tensor.shape)] as const),
    ).flat(),
  );
  const weighted = (preference: readonly number[], of: (task: number) => tf.Tensor) =>
    preference.map((a, task) => tf.mul(of(task), a)).reduce((x, y) => tf.add(x, y));
  return {
    parameters,
    weightsAt: (preference) =>
      new Map(names.map((name) => [name, tf.tidy(() => weighted(preference, (task) => parameters.get(memberOf(task, name)) as tf.Tensor))])),
    gradientsAt: (preference, gradients) =>
      new Map(preference.flatMap((a, task) => [...gradients].map(([name, gradient]) => [memberOf(task, name), tf.mul(gradient, a)] as const))),
    rateOf: () => 1,
    dispose: () => tf.dispose([...parameters.values()]),
  };
}

export interface PaloraSettings {
  readonly rank: number;
  /** s = alpha / rank. */
  readonly alpha: number;
  readonly seed: number;
}

/** One adapter for each task on every projection; A uniform within 1 / sqrt(in), B zero. Adapters learn `tasks` times as fast, for each gets a share of the weight. */
export function createPalora({ decoder }: Model, tasks: number, { rank, alpha, seed }: PaloraSettings): FrontModel {
  const scale = alpha / rank;
  const shared = new Map([...decoder.weights].map(([name, tensor]) => [name, tf.tensor(tensor.dataSync<"float32">().slice(), tensor.shape)]));
  const modules = Array.from({ length: decoder.config.layers }, (_, layer) => PROJECTIONS.map((projection) => modulePath(layer, projection))).flat();
  const [a, b] = [new Map<string, tf.Tensor2D>(), new Map<string, tf.Tensor2D>()];
  for (let task = 0; task < tasks; task++) {
    for (const module of modules) {
      const [out = 0, width = 0] = shared.get(`${module}.weight`)?.shape ?? [];
      const draws = uniforms(seed, `palora ${task} ${module}`, rank * width);
      a.set(
        adapterName(task, module),
        tf.tensor2d(
          Float32Array.from(draws, (u) => (2 * u - 1) / Math.sqrt(width)),
          [rank, width],
        ),
      );
      b.set(adapterName(task, module), tf.zeros([out, rank]));
    }
  }
  const factors = (task: number, module: string) => ({
    a: a.get(adapterName(task, module)) as tf.Tensor2D,
    b: b.get(adapterName(task, module)) as tf.Tensor2D,
  });
  const parameters = new Map<string, tf.Tensor>([...named("shared", shared), ...named("a", a), ...named("b", b)]);
  return {
    parameters,
    weightsAt(preference) {
      const changed = (name: string, weight: tf.Tensor): tf.Tensor =>
        preference.reduce((sum: tf.Tensor, share, task) => {
          const { a: down, b: up } = factors(task, moduleOf(name));
          return tf.add(sum, tf.mul(tf.matMul(up, down), scale * share));
        }, weight);
      return new Map(
        [...shared].map(([name, weight]) => [
          name,
          a.has(adapterName(0, moduleOf(name))) && weight.rank === 2 ? tf.tidy(() => changed(name, weight)) : tf.clone(weight),
        ]),
      );
    },
    gradientsAt(preference, gradients) {
      const all = new Map<string, tf.Tensor>([...gradients].map(([name, gradient]) => [`shared/${name}`, tf.clone(gradient)]));
      for (const module of modules) {
        const gradient = gradients.get(`${module}.weight`) as tf.Tensor2D;
        for (const [task, share] of preference.entries()) {
          const { a: down, b: up } = factors(task, module);
          all.set(
            `a/${adapterName(task, module)}`,
            tf.tidy(() => tf.mul(tf.matMul(up, gradient, true), scale * share)),
          );
          all.set(
            `b/${adapterName(task, module)}`,
            tf.tidy(() => tf.mul(tf.matMul(gradient, down, false, true), scale * share)),
          );
        }
      }
      return all;
    },
    cosine() {
      const keys = [...a.keys()];
      const mean = () => meanCosine(Array.from({ length: tasks }, (_, task) => modules.map((module) => factors(task, module))));
      const { value, grads } = tf.valueAndGrads(mean)([...a.values(), ...b.values()]);
      const gradients = new Map(grads.map((gradient, i) => [`${i < keys.length ? "a" : "b"}/${keys[i % keys.length]}`, gradient]));
      const number = value.dataSync()[0] ?? Number.NaN;
      value.dispose();
      return { value: number, gradients };
    },
    rateOf: (name) => (name.startsWith("shared/") ? 1 : tasks),
    dispose: () => tf.dispose([...parameters.values()]),
  };
}

interface Factors {
  readonly a: tf.Tensor2D;
  readonly b: tf.Tensor2D;
}

/** Squares of norms count at least as this: adapters begin at zero. */
const LEAST_SQUARE = 1e-12;

/** Over pairs of tasks, each task's B A of all modules as one vector. <B A, D C> is the sum of (B^T D) * (A C^T): no product is made whole. */
function meanCosine(tasks: readonly (readonly Factors[])[]): tf.Scalar {
  const inner = (x: readonly Factors[], y: readonly Factors[]) =>
    x
      .map((p, i) => {
        const q = y[i] as Factors;
        return tf.sum(tf.mul(tf.matMul(p.b, q.b, true), tf.matMul(p.a, q.a, false, true)));
      })
      .reduce((sum, part) => tf.add(sum, part));
  const squares = tasks.map((own) => tf.add(inner(own, own), LEAST_SQUARE));
  const cosines = tasks.flatMap((x, s) =>
    tasks.slice(0, s).map((y, t) => tf.div(inner(x, y), tf.sqrt(tf.mul(squares[s] as tf.Tensor, squares[t] as tf.Tensor)))),
  );
  return tf.div(
    cosines.reduce((sum, part) => tf.add(sum, part)),
    cosines.length,
  ) as tf.Scalar;
}

/** Key of a task's factors for a module. */
export const adapterName = (task: number, module: string): string => `${task}/${module}`;
const moduleOf = (name: string): string => name.replace(/\.weight$/, "");
const named = (kind: string, tensors: Tensors): [string, tf.Tensor][] => [...tensors].map(([name, tensor]) => [`${kind}/${name}`, tensor]);
