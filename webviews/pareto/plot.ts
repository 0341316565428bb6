// The two large pictures of the trade-off page: layers of canvas and SVG, with brushes. Brushing paints the canvases alone.
import { drawParallel, layoutParallel, type Parallel, type ParallelLayout } from "../charts/parallel.ts";
import { drawScatter, layoutScatter, MANY_ON_FRONT, type Scatter, type ScatterLayout } from "../charts/scatter.ts";
import { layersOf, withColours } from "../common/layers.ts";
import { type CanvasColours, type Dots, paintDots, paintStrands } from "./canvas.ts";

/** Lines that a frame has time for, and lines drawn when the brush rests. */
const STRANDS_MOVING = 800;
const STRANDS_RESTING = 20_000;

const colours = (): CanvasColours =>
  withColours((colourOf) => ({ strong: colourOf("var(--chart-base)"), pale: colourOf("var(--chart-grid)"), front: colourOf("var(--chart-line)") }));

export interface ScatterPlot {
  readonly element: HTMLElement;
  readonly layout: ScatterLayout;
  paint(pass: Uint8Array): void;
}

/** @param many by point of the file: values, and what a dot says; those that are drawn above say nothing */
export function scatterPlot(data: Scatter, width: number, many: { xs: Float64Array; ys: Float64Array; kinds: Uint8Array }): ScatterPlot {
  const layout = layoutScatter(data, width);
  const svg = drawScatter(data, { width }, false);
  const layers = layersOf(svg);
  const dots: Dots = {
    xs: Float32Array.from(many.xs, (x) => layout.left + layout.x(x)),
    ys: Float32Array.from(many.ys, (y) => layout.top + layout.y(y)),
    kinds: many.kinds,
  };
  const theme = colours();
  return { element: layers.element, layout, paint: (pass) => layers.paint((context) => paintDots(context, dots, pass, theme)) };
}

export interface ParallelPlot {
  readonly element: HTMLElement;
  readonly layout: ParallelLayout;
  paint(pass: Uint8Array, moving: boolean): void;
}

/** @param onFront by point */
export function parallelPlot(data: Parallel, width: number, onFront: Uint8Array): ParallelPlot {
  const layout = layoutParallel(data, width);
  const layers = layersOf(drawParallel({ ...data, front: data.front.length > MANY_ON_FRONT ? [] : data.front }, { width }));
  const rows = data.axes.map(({ values }, i) => Float32Array.from(values, (value) => layout.top + (layout.scales[i]?.(value) ?? Number.NaN)));
  const places = layout.places.map((place) => layout.left + place);
  const theme = colours();
  return {
    element: layers.element,
    layout,
    paint: (pass, moving) =>
      layers.paint((context) => paintStrands(context, { places, rows, onFront }, pass, theme, moving ? STRANDS_MOVING : STRANDS_RESTING)),
  };
}

/** Follows a press on `target` until it is let go. Places are the chart's own; a press that goes nowhere is a click. */
export function followDrag(target: Element, act: { move(from: Place, to: Place): void; end(from: Place, to: Place): void; click(at: Place): void }): void {
  const svg = target.querySelector("svg");
  if (svg === null) return;
  const placeOf = (event: PointerEvent): Place => {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
  };
  svg.addEventListener("pointerdown", (down) => {
    if (down.button !== 0) return;
    const from = placeOf(down);
    let moved = false;
    const onMove = (event: PointerEvent) => {
      const to = placeOf(event);
      moved ||= Math.hypot(to.x - from.x, to.y - from.y) > CLICK_REACH;
      if (moved) act.move(from, to);
    };
    const onUp = (event: PointerEvent) => {
      window.removeEventListener("pointermove", onMove);
      if (moved) act.end(from, placeOf(event));
      else act.click(from);
    };
    window.addEventListener("pointermove", onMove);
    window.addEventListener("pointerup", onUp, { once: true });
  });
}

const CLICK_REACH = 4;

export interface Place {
  readonly x: number;
  readonly y: number;
}
