// A canvas below a chart's SVG, for marks that are too many to be elements.
import { element } from "./dom.ts";

export interface Layers {
  readonly element: HTMLElement;
  /** The canvas is as large as the chart; coordinates are the chart's, whatever the screen's density. */
  paint(draw: (context: CanvasRenderingContext2D) => void): void;
}

/** Puts a canvas below a chart. */
export function layersOf(svg: SVGSVGElement): Layers {
  const { width, height } = svg.viewBox.baseVal;
  const density = Math.max(1, Math.min(2, window.devicePixelRatio));
  const canvas = element("canvas", { width: Math.round(width * density), height: Math.round(height * density), "aria-hidden": "true" });
  const holder = element("div", { class: "layers" }, canvas, svg);
  holder.style.width = `${width}px`;
  return {
    element: holder,
    paint(draw) {
      const context = canvas.getContext("2d");
      if (context === null) return;
      context.setTransform(density, 0, 0, density, 0, 0);
      context.clearRect(0, 0, width, height);
      draw(context);
    },
  };
}

/** Works with the page's styles in colours, custom properties and mixes included, as they are now: canvases know none of them. */
export function withColours<T>(use: (colourOf: (css: string) => string) => T): T {
  const probe = element("span", { class: "offscreen" });
  // What forces colours on pages leaves pictures alone.
  probe.style.setProperty("forced-color-adjust", "none");
  document.body.append(probe);
  const known = new Map<string, string>();
  const read = (css: string) => {
    probe.style.color = css;
    return getComputedStyle(probe).color;
  };
  try {
    return use((css) => {
      const colour = known.get(css) ?? read(css);
      known.set(css, colour);
      return colour;
    });
  } finally {
    probe.remove();
  }
}

/** Has a canvas painted again when colours change: the editor tells of another theme by the body's classes, a browser by its preference. */
export function followTheme(shown: Element, repaint: () => void): void {
  const preference = window.matchMedia("(prefers-color-scheme: dark)");
  const follow = () => {
    if (shown.isConnected) repaint();
    else {
      observer.disconnect();
      preference.removeEventListener("change", follow);
    }
  };
  const observer = new MutationObserver(follow);
  observer.observe(document.body, { attributes: true, attributeFilter: ["class"] });
  preference.addEventListener("change", follow);
}
