// Bounds of every quantity as numbers: what brushes do, for those who do not drag.
import { figure } from "../charts/svg.ts";
import type { LiveFigure } from "../common/chart-figure.ts";
import { element } from "../common/dom.ts";
import type { Filters } from "./model.ts";

type Bounds = readonly [number, number];

const OPEN: Bounds = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];

/** A row for each quantity; an empty field is no bound. */
export function filterTable(names: readonly string[], filters: () => Filters, set: (name: string, bounds: Bounds) => void): LiveFigure {
  const readers: (() => void)[] = [];
  const bound = (name: string, side: 0 | 1) => {
    const input = element("input", { type: "number", step: "any", "aria-label": `${side === 0 ? "Least" : "Most"} ${name}` });
    readers.push(() => {
      const value = filters()[name]?.[side];
      input.value = value === undefined || !Number.isFinite(value) ? "" : figure(value);
    });
    input.addEventListener("change", () => {
      const [low, high] = filters()[name] ?? OPEN;
      const value = input.value === "" ? OPEN[side] : Number(input.value);
      set(name, side === 0 ? [value, high] : [low, value]);
    });
    return input;
  };
  const rows = names.map((name) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, bound(name, 0)), element("td", {}, bound(name, 1))),
  );
  const head = element("thead", {}, element("tr", {}, ...["", "least", "most"].map((text) => element("th", {}, text))));
  const redraw = () => {
    for (const read of readers) read();
  };
  redraw();
  return { element: element("table", { class: "filters" }, head, element("tbody", {}, ...rows)), redraw };
}
