// The direction of Adam (Kingma & Ba 2015, 1412.6980), for rules that use it on something else than the gradient as it is.
import type { Rule, RuleStep } from "./rule.ts";
import { decay, floats } from "./rule.ts";

export interface Betas {
  readonly betas: readonly [number, number];
  readonly eps: number;
}

/**
 * Takes `g` into the running means m and v, and returns m^ / (sqrt(v^) + eps).
 * @param step how many gradients the means have seen, this one included @param out where the result goes; may be `g`
 */
export function adamDirection(
  g: Float32Array,
  m: Float32Array,
  v: Float32Array,
  step: number,
  { betas: [beta1, beta2], eps }: Betas,
  out: Float32Array = new Float32Array(g.length),
): Float32Array {
  const [first, second] = [1 - beta1 ** step, 1 - beta2 ** step];
  for (let i = 0; i < g.length; i++) {
    const x = g[i] as number;
    const mean = beta1 * (m[i] as number) + (1 - beta1) * x;
    const square = beta2 * (v[i] as number) + (1 - beta2) * x * x;
    m[i] = mean;
    v[i] = square;
    out[i] = mean / first / (Math.sqrt(square / second) + eps);
  }
  return out;
}

/** AdamW on a whole parameter: what rules for matrices do with all else. */
export const adamRule = (settings: Betas): Rule => ({
  start: ({ size }) => ({ m: new Float32Array(size), v: new Float32Array(size) }),
  step(theta, gradient, state, _parameter, at) {
    decay(theta, at);
    move(theta, adamDirection(gradient, floats(state, "m"), floats(state, "v"), at.step, settings), at);
  },
});

/** theta -= lr * direction */
export function move(theta: Float32Array, direction: Float32Array, { lr }: RuleStep, scale = 1): void {
  for (let i = 0; i < theta.length; i++) theta[i] = (theta[i] as number) - lr * scale * (direction[i] as number);
}
