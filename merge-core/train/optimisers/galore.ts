// GaLore (Zhao et al. 2024, 2403.03507): Adam on the gradient projected to its leading singular vectors, which are found anew now and then.
import { plainSpace } from "../../compute/linalg/plain-space.ts";
import { svdAtOnce } from "../../compute/linalg/svd.ts";
import { adamDirection, adamRule, type Betas, move } from "./adam-direction.ts";
import { decay, floats, type Parameter, type Rule } from "./rule.ts";
import { lieDown, projectBack, projectRows, standUp, wideShape } from "./small-products.ts";

export interface ProjectionSettings {
  readonly rank: number;
  /** Steps between projections. */
  readonly updateEvery: number;
  readonly scale: number;
}

/** Whether a parameter is a matrix with more than `rank` rows and columns; all others are left to Adam. */
export const isProjected = ({ shape }: Parameter, rank: number): boolean => shape.length === 2 && Math.min(...shape) > rank;

/** Moments stay as they are when the projection changes, as in the authors' code. */
export function galoreRule(settings: Betas & ProjectionSettings): Rule {
  const { rank, updateEvery, scale } = settings;
  const whole = adamRule(settings);
  return {
    start(parameter) {
      if (!isProjected(parameter, rank)) return whole.start(parameter);
      const { rows, columns } = wideShape(parameter.shape);
      return { projection: new Float32Array(rank * rows), m: new Float32Array(rank * columns), v: new Float32Array(rank * columns) };
    },
    step(theta, gradient, state, parameter, at) {
      if (!isProjected(parameter, rank)) return whole.step(theta, gradient, state, parameter, at);
      const wide = wideShape(parameter.shape);
      const g = lieDown(wide, gradient);
      const projection = floats(state, "projection");
      if ((at.step - 1) % updateEvery === 0) projection.set(leadingVectors(g, wide.rows, wide.columns, rank));
      const small = projectRows(projection, rank, g, wide.rows, wide.columns);
      const direction = adamDirection(small, floats(state, "m"), floats(state, "v"), at.step, settings);
      decay(theta, at);
      move(theta, standUp(wide, projectBack(projection, rank, direction, wide.rows, wide.columns)), at, scale);
    },
  };
}

/** The first left singular vectors, as rows. */
function leadingVectors(g: Float32Array, rows: number, columns: number, rank: number): Float32Array {
  const found = svdAtOnce(plainSpace(), { rows, columns, data: g }, rank);
  return found.left.data.slice(0, rank * rows);
}
