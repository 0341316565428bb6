// Lion (Chen et al. 2023, 2302.06675): the sign of a mean of gradients, and one running mean.
import { decay, floats, type Rule } from "./rule.ts";

export const lionRule = ({ betas: [beta1, beta2] }: { readonly betas: readonly [number, number] }): Rule => ({
  start: ({ size }) => ({ m: new Float32Array(size) }),
  step(theta, gradient, state, _parameter, at) {
    decay(theta, at);
    const m = floats(state, "m");
    for (let i = 0; i < theta.length; i++) {
      const [g, mean] = [gradient[i] as number, m[i] as number];
      theta[i] = (theta[i] as number) - at.lr * Math.sign(beta1 * mean + (1 - beta1) * g);
      m[i] = beta2 * mean + (1 - beta2) * g;
    }
  },
});
