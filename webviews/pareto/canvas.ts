// Many points and lines on a canvas below a chart's SVG. Positions are computed once a layout; a brush only paints again.

/** What a dot says, from below to above: nothing, predicted (hollow), measured, on the front. */
export const DOT = { none: 0, predicted: 1, measured: 2, front: 3 } as const;

export interface Dots {
  readonly xs: Float32Array;
  readonly ys: Float32Array;
  readonly kinds: Uint8Array;
}

export interface CanvasColours {
  readonly strong: string;
  readonly pale: string;
  readonly front: string;
}

const RADIUS = 2.6;

/** Pale ones first, so that what passes the filter lies above. One path each, which is what keeps ten thousand quick. */
export function paintDots(context: CanvasRenderingContext2D, { xs, ys, kinds }: Dots, pass: Uint8Array, colours: CanvasColours): void {
  for (const passes of [0, 1])
    for (const kind of [DOT.predicted, DOT.measured, DOT.front]) {
      context.beginPath();
      for (let i = 0; i < xs.length; i++) {
        if (pass[i] !== passes || kinds[i] !== kind) continue;
        const [x, y] = [xs[i] ?? Number.NaN, ys[i] ?? Number.NaN];
        if (Number.isFinite(x + y)) context.rect(x - RADIUS, y - RADIUS, 2 * RADIUS, 2 * RADIUS);
      }
      const colour = passes === 0 ? colours.pale : kind === DOT.front ? colours.front : colours.strong;
      if (kind === DOT.predicted) {
        context.strokeStyle = colour;
        context.lineWidth = 1;
        context.stroke();
      } else {
        context.fillStyle = colour;
        context.fill();
      }
    }
}

/** Lines that lie well apart are drawn whole; of more each is fainter, so that where they crowd can be seen. */
const OPAQUE = 150;
const FAINTEST = 0.06;

/** @param rows by axis, the position of each point @param most lines drawn at once; more take longer than a frame */
export function paintStrands(
  context: CanvasRenderingContext2D,
  { places, rows, onFront }: { places: readonly number[]; rows: readonly Float32Array[]; onFront: Uint8Array },
  pass: Uint8Array,
  colours: CanvasColours,
  most: number,
): void {
  const groups: [number[], number[], number[]] = [[], [], []];
  pass.forEach((value, i) => {
    groups[value === 0 ? 0 : onFront[i] === 0 ? 1 : 2].push(i);
  });
  [colours.pale, colours.strong, colours.front].forEach((colour, k) => {
    const group = groups[k] ?? [];
    const every = Math.max(1, Math.ceil(group.length / most));
    const drawn = group.length / every;
    context.globalAlpha = Math.max(FAINTEST, Math.min(1, OPAQUE / drawn));
    context.strokeStyle = colour;
    context.lineWidth = 1;
    for (let at = 0; at < group.length; at += every) {
      context.beginPath();
      let pen = false;
      for (let axis = 0; axis < places.length; axis++) {
        const y = rows[axis]?.[group[at] ?? 0] ?? Number.NaN;
        if (!Number.isFinite(y)) pen = false;
        else if (pen) context.lineTo(places[axis] ?? 0, y);
        else {
          context.moveTo(places[axis] ?? 0, y);
          pen = true;
        }
      }
      context.stroke();
    }
  });
  context.globalAlpha = 1;
}
