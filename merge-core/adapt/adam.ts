// Adam (Kingma and Ba 2015, 1412.6980) on plain numbers: for a handful of coefficients.
export interface Adam {
  /** Moves `values` against `gradient`, in place. */
  step(values: Float64Array, gradient: Float64Array): void;
  /** Running means of gradients and squared gradients: with the number of steps, all that the next step depends on. */
  readonly moments: readonly [Float64Array, Float64Array];
  /** Steps done. */
  steps: number;
}

export function createAdam(size: number, lr: number, betas: readonly [number, number] = [0.9, 0.999], eps = 1e-8): Adam {
  const [m, v] = [new Float64Array(size), new Float64Array(size)];
  const [beta1, beta2] = betas;
  return {
    moments: [m, v],
    steps: 0,
    step(values, gradient) {
      this.steps++;
      const [scale1, scale2] = [1 - beta1 ** this.steps, 1 - beta2 ** this.steps];
      for (let i = 0; i < size; i++) {
        const g = gradient[i] as number;
        m[i] = beta1 * (m[i] as number) + (1 - beta1) * g;
        v[i] = beta2 * (v[i] as number) + (1 - beta2) * g * g;
        values[i] = (values[i] as number) - (lr * (m[i] as number)) / scale1 / (Math.sqrt((v[i] as number) / scale2) + eps);
      }
    },
  };
}
