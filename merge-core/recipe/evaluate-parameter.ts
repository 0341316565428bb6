// The value of a parameter for one tensor: conditions pick a gradient by name, the gradient is read at the layer's place.
import type { ParameterSetting } from "./recipe.ts";
import { fits } from "./tensor-pattern.ts";

/**
 * @param tensorName decides between conditions
 * @param position place of the tensor's layer among the layers of its slice, 0 the first and 1 the last
 * @param stepwise each value holds until the next one's place is reached: flags have nothing between on and off
 * @returns undefined if no condition fits; the parameter then counts as unset at this level
 */
export function evaluateParameter(setting: ParameterSetting, tensorName: string, position: number, stepwise = false): number | undefined {
  const values = valuesFor(setting, tensorName);
  if (values === undefined) return undefined;
  return stepwise ? values[Math.floor(position * (values.length - 1))] : valueAt(values, position);
}

/** The values that the parameter runs through over the layers. */
export function valuesFor(setting: ParameterSetting, tensorName: string): readonly number[] | undefined {
  return setting.conditions.find((condition) => fits(condition, tensorName))?.values;
}

/** Linear interpolation in a list of values spread evenly over [0, 1]. */
function valueAt(values: readonly number[], position: number): number | undefined {
  const place = position * (values.length - 1);
  const i = Math.floor(place);
  const left = values[i];
  const right = values[Math.min(values.length - 1, i + 1)];
  if (left === undefined || right === undefined) return left;
  const fraction = place - i;
  return (1 - fraction) * left + fraction * right;
}

/** Position of layer `index` among `count` layers; a single layer is at 1. */
export function layerPosition(index: number, count: number): number {
  return count === 1 ? 1 : index / (count - 1);
}
