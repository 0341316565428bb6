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

/** Text that fits `length` characters: names that begin alike often differ in their ends, so both are kept. */
export function shorten(text: string, length: number): string {
  if (text.length <= length) return text;
  const tail = Math.max(0, Math.floor((length - 1) / 2));
  return `${text.slice(0, Math.max(1, length - 1 - tail))}…${text.slice(text.length - tail)}`;
}

/** Black or white, whichever is further from a colour: at the lightness where they change places both have a contrast of 4.6. */
export const inkOn = (colour: string): string => `oklch(from ${colour} clamp(0, (0.566 - l) * 1000000, 1) 0 0)`;

/** Where colours cannot be computed so: from this fraction on, text on a scale colour takes the colour made for the high end. */
export const TEXT_SWITCH = 0.55;

/** A number in four digits, with a dash for one that is missing. */
export const figure = (value: number | null | undefined): string =>
  typeof value === "number" && Number.isFinite(value) ? String(Number(value.toPrecision(4))) : "–";

/** A fraction as percent with one decimal. */
export const percent = (fraction: number): string => (100 * fraction).toFixed(1);
