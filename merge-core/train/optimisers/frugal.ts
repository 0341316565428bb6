// FRUGAL (Zmushko et al. 2024, 2411.07837): a share of the columns, drawn anew now and then, moves by Adam, all others by the sign of their
// gradient, which needs no memory.
import { permutation } from "../../nn/random.ts";
import { adamDirection, adamRule, type Betas } from "./adam-direction.ts";
import { decay, floats, type Parameter, type Rule, type RuleStep } from "./rule.ts";

export interface FrugalSettings extends Betas {
  /** Share of the columns with running means. */
  readonly density: number;
  /** Steps between selections. */
  readonly updateEvery: number;
  /** Learning rate of signs as a multiple of the run's. */
  readonly signRate: number;
}

export function frugalRule(settings: FrugalSettings): Rule {
  const { updateEvery, signRate, density } = settings;
  const whole = adamRule(settings);
  const widthOf = ({ shape }: Parameter) => Math.ceil((shape[1] ?? 0) * density);
  return {
    start(parameter) {
      if (parameter.shape.length !== 2) return whole.start(parameter);
      const size = (parameter.shape[0] ?? 0) * widthOf(parameter);
      return { m: new Float32Array(size), v: new Float32Array(size) };
    },
    step(theta, gradient, state, parameter, at) {
      if (parameter.shape.length !== 2) return whole.step(theta, gradient, state, parameter, at);
      const [m, v] = [floats(state, "m"), floats(state, "v")];
      const since = (at.step - 1) % updateEvery;
      // Means of other columns say nothing of those chosen now.
      if (since === 0) for (const array of [m, v]) array.fill(0);
      const places = placesOf(parameter, widthOf(parameter), updateEvery, at);
      const direction = adamDirection(gather(gradient, places), m, v, since + 1, settings);
      decay(theta, at);
      const moved = new Float32Array(theta.length);
      for (const [i, g] of gradient.entries()) moved[i] = signRate * Math.sign(g);
      for (const [n, i] of places.entries()) moved[i] = direction[n] as number;
      for (const [i, x] of moved.entries()) theta[i] = (theta[i] as number) - at.lr * x;
    },
  };
}

/** The elements of the chosen columns, row by row. */
function placesOf({ name, shape }: Parameter, width: number, updateEvery: number, { seed, step }: RuleStep): Int32Array {
  const [rows = 0, columns = 0] = shape;
  const chosen = permutation(seed, `frugal/${Math.floor((step - 1) / updateEvery)}/${name}`, columns).slice(0, width);
  return Int32Array.from({ length: rows * width }, (_, n) => Math.floor(n / width) * columns + (chosen[n % width] as number));
}

const gather = (x: Float32Array, places: Int32Array): Float32Array => Float32Array.from(places, (i) => x[i] as number);
