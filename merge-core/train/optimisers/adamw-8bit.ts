// AdamW with both running means in 8-bit codes, block by block (Dettmers et al. 2022, 2110.02861): a quarter of the memory.
import { adamRule, type Betas } from "./adam-direction.ts";
import { BLOCK, dynamicMap, encodeBlock } from "./dynamic-map.ts";
import { decay, floats, type Rule, type State } from "./rule.ts";

/** Smaller parameters keep their means as they are. */
const SMALLEST = 4096;

export function adamW8bitRule(settings: Betas): Rule {
  const whole = adamRule(settings);
  const [signed, unsigned] = [dynamicMap(true), dynamicMap(false)];
  // Zero, not the lowest code, is where the means begin.
  const zero = signed.indexOf(0);
  return {
    start(parameter) {
      const { size } = parameter;
      if (size < SMALLEST) return whole.start(parameter);
      const blocks = Math.ceil(size / BLOCK);
      const scales = { "m.scale": new Float32Array(blocks), "v.scale": new Float32Array(blocks) };
      return { m: new Uint8Array(size).fill(zero), v: new Uint8Array(size), ...scales };
    },
    step(theta, gradient, state, parameter, at) {
      if (parameter.size < SMALLEST) return whole.step(theta, gradient, state, parameter, at);
      decay(theta, at);
      const { betas, eps } = settings;
      const bias: [number, number] = [1 - betas[0] ** at.step, 1 - betas[1] ** at.step];
      for (let block = 0; block * BLOCK < theta.length; block++) stepBlock(block, theta, gradient, state, { betas, eps, bias, lr: at.lr });
    },
  };

  function stepBlock(
    block: number,
    theta: Float32Array,
    gradient: Float32Array,
    state: State,
    { betas: [beta1, beta2], eps, bias, lr }: Betas & { bias: readonly [number, number]; lr: number },
  ): void {
    const from = block * BLOCK;
    const count = Math.min(BLOCK, theta.length - from);
    const [m, v] = [codes(state, "m"), codes(state, "v")];
    const [mScale, vScale] = [floats(state, "m.scale"), floats(state, "v.scale")];
    const [means, squares] = [new Float64Array(count), new Float64Array(count)];
    for (let i = 0; i < count; i++) {
      const g = gradient[from + i] as number;
      means[i] = beta1 * (signed[m[from + i] as number] as number) * (mScale[block] as number) + (1 - beta1) * g;
      squares[i] = beta2 * (unsigned[v[from + i] as number] as number) * (vScale[block] as number) + (1 - beta2) * g * g;
      const direction = (means[i] as number) / bias[0] / (Math.sqrt((squares[i] as number) / bias[1]) + eps);
      theta[from + i] = (theta[from + i] as number) - lr * direction;
    }
    mScale[block] = encodeBlock(signed, means, count, m, from);
    vScale[block] = encodeBlock(unsigned, squares, count, v, from);
  }
}

function codes(state: State, name: string): Uint8Array {
  const found = state[name];
  if (!(found instanceof Uint8Array)) throw new TypeError(`the optimiser has no ${name}`);
  return found;
}
