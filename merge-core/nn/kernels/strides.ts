// Shapes with strides, reduced to as few dimensions as describe the same walk through memory.

export interface Axis {
  readonly size: number;
  /** Step of each operand, in elements. */
  readonly strides: readonly number[];
}

/** Row-major strides, 0 for dimensions of size 1 (they broadcast). */
export function broadcastStrides(shape: readonly number[], rank: number): number[] {
  const strides = new Array<number>(rank).fill(0);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    const size = shape[i] as number;
    if (size !== 1) strides[rank - shape.length + i] = step;
    step *= size;
  }
  return strides;
}

/** Drops dimensions of size 1 and joins neighbours that one step describes. At least one dimension remains. */
export function joinAxes(axes: readonly Axis[]): Axis[] {
  const joined: Axis[] = [];
  for (const axis of axes) {
    if (axis.size === 1) continue;
    const last = joined.at(-1);
    if (last?.strides.every((stride, i) => stride === (axis.strides[i] as number) * axis.size)) {
      joined[joined.length - 1] = { size: last.size * axis.size, strides: axis.strides };
    } else joined.push(axis);
  }
  return joined.length > 0 ? joined : [{ size: 1, strides: axes[0]?.strides.map(() => 0) ?? [] }];
}

/** Calls `visit` with the offsets of the operands (then of the dense output) for every index of the axes before the last `inner`. */
export function eachOuter(
  axes: readonly Axis[],
  inner: number,
  visit: (innerAxes: readonly Axis[], offsets: readonly number[], outOffset: number) => void,
): void {
  const first = axes[0];
  if (axes.length <= inner || first === undefined) {
    visit(axes, first?.strides.map(() => 0) ?? [], 0);
    return;
  }
  const rest = axes.slice(1);
  const restSize = sizeOf(rest);
  for (let i = 0; i < first.size; i++) {
    eachOuter(rest, inner, (innerAxes, offsets, out) => {
      visit(
        innerAxes,
        offsets.map((offset, operand) => offset + i * (first.strides[operand] as number)),
        out + i * restSize,
      );
    });
  }
}

export function sizeOf(axes: readonly Axis[]): number {
  return axes.reduce((product, axis) => product * axis.size, 1);
}

/** Exactly `count` axes, padded in front. */
export function padAxes(axes: readonly Axis[], count: number): Axis[] {
  const none: Axis = { size: 1, strides: axes[0]?.strides.map(() => 0) ?? [] };
  return [...new Array<Axis>(count - axes.length).fill(none), ...axes];
}
