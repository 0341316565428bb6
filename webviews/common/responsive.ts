import { element } from "./dom.ts";

/** Draws a chart again whenever its place changes width. */
export function responsive(draw: (width: number) => SVGSVGElement, widest: number): HTMLElement {
  const holder = element("div", { class: "holder" });
  let drawn = 0;
  const redraw = () => {
    const width = Math.min(widest, Math.floor(holder.clientWidth));
    if (width === drawn || width === 0) return;
    drawn = width;
    holder.replaceChildren(draw(width));
  };
  new ResizeObserver(redraw).observe(holder);
  return holder;
}
