// What all charts share: the root element, and colours as CSS custom properties so that a page or a theme decides them.

export interface ChartSize {
  readonly width: number;
  /** Where elements are made; the page's own by default. */
  readonly document?: Document;
}

const NAMESPACE = "http://www.w3.org/2000/svg";

/** An empty picture with its text alternative. */
export function createChart(size: ChartSize, height: number, label: string, className: string): SVGSVGElement {
  const svg = (size.document ?? document).createElementNS(NAMESPACE, "svg");
  const attributes = { viewBox: `0 0 ${size.width} ${height}`, width: size.width, height, role: "img", "aria-label": label, class: `chart ${className}` };
  for (const [name, value] of Object.entries(attributes)) svg.setAttribute(name, String(value));
  return svg;
}

/** A colour between the ends of the page's scale, mixed in OKLab, where equal steps look equal. `fraction` is clamped to 0..1. */
export function scaleColour(fraction: number): string {
  const percent = Math.round(1000 * Math.min(1, Math.max(0, fraction))) / 10;
  return `color-mix(in oklab, var(--chart-high) ${percent}%, var(--chart-low))`;
}

/** A colour on the scale with a middle: -1 and 1 are its ends, 0 the colour of nothing. */
export function signedColour(fraction: number): string {
  const percent = Math.round(1000 * Math.min(1, Math.abs(fraction))) / 10;
  return `color-mix(in oklab, var(--chart-${fraction < 0 ? "negative" : "high"}) ${percent}%, var(--chart-low))`;
}

/** Text that fits `length` characters. */
export const shorten = (text: string, length: number): string => (text.length > length ? `${text.slice(0, Math.max(1, length - 1))}…` : text);

/** From this fraction on, text on a scale colour takes the colour made for the high end. */
export const TEXT_SWITCH = 0.55;

/** A fraction as percent with one decimal. */
export const percent = (fraction: number): string => (100 * fraction).toFixed(1);
