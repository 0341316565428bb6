// APOLLO (Zhu et al. 2024, 2412.05270): Adam runs on a random projection of the gradient, and only tells how long the steps of each channel
// are to be; the gradient itself gives the direction. No singular vectors are needed.
import { normals } from "../../nn/random.ts";
import { adamDirection, adamRule, type Betas, move } from "./adam-direction.ts";
import { isProjected, type ProjectionSettings } from "./galore.ts";
import { decay, floats, type Rule } from "./rule.ts";
import { lieDown, projectRows, standUp, wideShape } from "./small-products.ts";

export interface ApolloSettings extends Betas, ProjectionSettings {
  /** One factor for each channel, or one for the whole matrix (APOLLO-Mini). */
  readonly scaleBy: "channel" | "tensor";
}

/** A step is at most so much longer than the one before. */
const GROWTH = 1.01;

export function apolloRule(settings: ApolloSettings): Rule {
  const { rank, updateEvery, scale, scaleBy } = settings;
  const whole = adamRule(settings);
  return {
    start(parameter) {
      if (!isProjected(parameter, rank)) return whole.start(parameter);
      const { columns } = wideShape(parameter.shape);
      return { m: new Float32Array(rank * columns), v: new Float32Array(rank * columns), norm: new Float32Array(1) };
    },
    step(theta, gradient, state, parameter, at) {
      if (!isProjected(parameter, rank)) return whole.step(theta, gradient, state, parameter, at);
      const wide = wideShape(parameter.shape);
      const { rows, columns } = wide;
      const round = Math.floor((at.step - 1) / updateEvery);
      const projection = normals(at.seed, `apollo/${round}/${parameter.name}`, rank * rows).map((x) => x / Math.sqrt(rank));
      const g = lieDown(wide, gradient);
      const small = projectRows(projection, rank, g, rows, columns);
      const direction = adamDirection(small, floats(state, "m"), floats(state, "v"), at.step, settings);
      // As in the authors' code, the growth that is limited is that of steps before their correction for moments that began at zero.
      const correction = Math.sqrt(1 - settings.betas[1] ** at.step) / (1 - settings.betas[0] ** at.step);
      const factors = scaleBy === "channel" ? ratios(direction, small, columns) : new Float64Array(columns).fill(length(direction) / (length(small) + 1e-8));
      const update = g.map((x, i) => ((Math.sqrt(scale) * (factors[i % columns] as number)) / correction) * x);
      decay(theta, at);
      move(theta, standUp(wide, limited(update, floats(state, "norm"))), at, correction);
    },
  };
}

const length = (x: Float32Array): number => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));

/** Of each column, its length in `a` by that in `b`. */
function ratios(a: Float32Array, b: Float32Array, columns: number): Float64Array {
  const sums = (x: Float32Array) => {
    const out = new Float64Array(columns);
    for (const [i, value] of x.entries()) out[i % columns] = (out[i % columns] as number) + value * value;
    return out;
  };
  const [above, below] = [sums(a), sums(b)];
  return above.map((square, j) => Math.sqrt(square) / (Math.sqrt(below[j] as number) + 1e-8));
}

/** The update, shortened where it grows too fast; `norm` holds the length of the last one. */
function limited(update: Float32Array, norm: Float32Array): Float32Array {
  const [now, before] = [length(update), norm[0] as number];
  const factor = before > 0 && now > GROWTH * before ? (GROWTH * before) / now : 1;
  norm[0] = now * factor;
  return factor === 1 ? update : update.map((x) => x * factor);
}
