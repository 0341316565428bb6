// Charts and tables as files of their own: SVG and PNG with the colours that the page shows, CSV, JSON.
import type { Table } from "./table.ts";

/** What a chart's elements take from the page's styles. */
const STYLES = [
  "fill",
  "fill-opacity",
  "stroke",
  "stroke-width",
  "stroke-opacity",
  "stroke-dasharray",
  "paint-order",
  "opacity",
  "font-family",
  "font-size",
  "font-weight",
  "display",
  "visibility",
] as const;

/** Fields with separators, quotes or line ends in quotes (RFC 4180); first letters that a spreadsheet would run as a formula stay text. */
export function toCsv({ header, rows }: Table): string {
  const field = (text: string) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const safe = (text: string) => (/^[=@\t\r]|^[+-](?![\d.])/.test(text) ? `'${text}` : text);
  return [header, ...rows].map((row) => `${row.map((text) => field(safe(text))).join(",")}\r\n`).join("");
}

/** Numbers that JSON has no word for become null. */
export const toJson = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/** The picture with its styles written into it, so that it looks the same anywhere. */
export function standaloneSvg(svg: SVGSVGElement): string {
  const copy = svg.cloneNode(true) as SVGSVGElement;
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const colour = plainColours();
  const from = [svg, ...svg.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((target, i) => {
    const style = getComputedStyle(from[i] as Element);
    for (const name of STYLES) {
      const value = style.getPropertyValue(name);
      if (value !== "") target.setAttribute(name, name === "fill" || name === "stroke" ? colour(value) : value);
    }
    target.removeAttribute("class");
    target.removeAttribute("style");
  });
  const ground = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  // What a notebook's page has behind its outputs is nothing.
  const behind = getComputedStyle(svg).getPropertyValue("--ground").trim() || getComputedStyle(document.body).backgroundColor;
  for (const [name, value] of Object.entries({ width: "100%", height: "100%", fill: colour(behind) })) ground.setAttribute(name, value);
  copy.prepend(ground);
  return `${copy.outerHTML}\n`;
}

/** Colours in words that every program knows: a mix in OKLab is painted once and read back. */
function plainColours(): (colour: string) => string {
  const known = new Map<string, string>();
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const read = (colour: string): string => {
    if (context === null) return colour;
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a = 0] = context.getImageData(0, 0, 1, 1).data;
    return a === 255 ? `rgb(${r},${g},${b})` : `rgba(${r},${g},${b},${(a / 255).toFixed(3)})`;
  };
  return (colour) => {
    if (colour === "none" || colour.startsWith("url(")) return colour;
    const plain = known.get(colour) ?? read(colour);
    known.set(colour, plain);
    return plain;
  };
}

const PNG_SCALE = 2;

/** At twice the size on the page. @throws Error where the page's policy lets no image be made of data */
export async function toPng(svg: SVGSVGElement): Promise<Blob> {
  const { width, height } = svg.viewBox.baseVal;
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(standaloneSvg(svg))}`;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: PNG_SCALE * width, height: PNG_SCALE * height });
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob === null ? reject(new Error("the picture is too large for PNG")) : resolve(blob))));
}
