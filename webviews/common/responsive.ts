import { element } from "./dom.ts";

export interface LiveChart {
  readonly element: HTMLElement;
  /** Draws again, after a change of data or selection. */
  redraw(): void;
}

/** Draws a chart whenever its place changes width, and when told to. */
export function liveChart(draw: (width: number) => Element, widest: number): LiveChart {
  const holder = element("div", { class: "holder" });
  let drawn = 0;
  const redraw = (force: boolean) => {
    const width = Math.min(widest, Math.floor(holder.clientWidth));
    if ((width === drawn && !force) || width === 0) return;
    drawn = width;
    holder.replaceChildren(draw(width));
  };
  new ResizeObserver(() => redraw(false)).observe(holder);
  return { element: holder, redraw: () => redraw(true) };
}
