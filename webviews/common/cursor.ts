// Makes the marks of a chart reachable: the chart is one tab stop, arrows, Home and End move over its marks, Enter and a
// click choose. What the mark under cursor or pointer means is written below the chart.
import { element } from "./dom.ts";

export interface Cursor {
  /** Marks, each with `data-row` and `data-column` and a title that says what it means. */
  readonly marks: string;
  readonly label: string;
  /** Enter or click on a mark; with Shift, Ctrl or Command it is added to what is chosen. */
  readonly choose?: (row: number, column: number, add: boolean) => void;
}

const STEPS: Readonly<Record<string, readonly [number, number]>> = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] };

/** Adds the cursor to the chart's holder and gives the line that names the mark. */
export function addCursor(holder: HTMLElement, { marks, label, choose }: Cursor): HTMLElement {
  const readout = element("p", { class: "readout soft", "aria-live": "polite" });
  let at: readonly [number, number] | undefined;
  const all = () => [...holder.querySelectorAll<SVGElement>(marks)];
  const placeOf = (mark: SVGElement): readonly [number, number] => [Number(mark.dataset.row), Number(mark.dataset.column ?? 0)];
  const show = (mark: SVGElement | undefined) => {
    for (const other of holder.querySelectorAll(".cursor")) other.classList.remove("cursor");
    mark?.classList.add("cursor");
    if (mark !== undefined) {
      at = placeOf(mark);
      mark.scrollIntoView?.({ block: "nearest", inline: "nearest" });
    }
    readout.textContent = mark?.querySelector("title")?.textContent ?? "";
  };
  const current = () => all().find((mark) => at !== undefined && placeOf(mark).every((x, i) => x === at?.[i]));
  for (const [name, value] of Object.entries({ tabindex: "0", role: "group", "aria-label": `${label}. Arrow keys move over it.` }))
    holder.setAttribute(name, value);
  holder.addEventListener("focus", () => show(current() ?? all()[0]));
  holder.addEventListener("blur", () => holder.querySelector(".cursor")?.classList.remove("cursor"));
  holder.addEventListener("pointerover", ({ target }) => {
    const mark = target instanceof Element ? target.closest(marks) : null;
    if (mark !== null) readout.textContent = mark.querySelector("title")?.textContent ?? "";
  });
  holder.addEventListener("click", (event) => {
    const mark = event.target instanceof Element ? event.target.closest<SVGElement>(marks) : null;
    if (mark === null) return;
    at = placeOf(mark);
    choose?.(...at, event.shiftKey || event.ctrlKey || event.metaKey);
  });
  holder.addEventListener("keydown", (event) => {
    const mark = current();
    if ((event.key === "Enter" || event.key === " ") && mark !== undefined) {
      choose?.(...placeOf(mark), event.shiftKey || event.ctrlKey || event.metaKey);
      show(current());
    } else if (STEPS[event.key] || event.key === "Home" || event.key === "End")
      show(
        target(
          all().map((m) => ({ mark: m, place: placeOf(m) })),
          at,
          event.key,
        )?.mark,
      );
    else return;
    event.preventDefault();
  });
  return readout;
}

interface Placed<T> {
  readonly mark: T;
  readonly place: readonly [number, number];
}

/** Where a key leads: the nearest mark that way in the same row or column, else in the next one; at the end of all it stays. */
export function target<T>(marks: readonly Placed<T>[], at: readonly [number, number] | undefined, key: string): Placed<T> | undefined {
  if (at === undefined || key === "Home") return marks[0];
  if (key === "End") return marks.at(-1);
  const [down, right] = STEPS[key] ?? [0, 0];
  const far = ({ place: [row, column] }: Placed<T>) => {
    const along = (row - at[0]) * down + (column - at[1]) * right;
    const aside = Math.abs((row - at[0]) * right) + Math.abs((column - at[1]) * down);
    return along > 0 ? along + 1000 * aside : Number.POSITIVE_INFINITY;
  };
  const best = marks.reduce<Placed<T> | undefined>((a, b) => (a === undefined || far(b) < far(a) ? b : a), undefined);
  return best !== undefined && Number.isFinite(far(best)) ? best : marks.find(({ place }) => place[0] === at[0] && place[1] === at[1]);
}
