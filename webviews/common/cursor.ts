// Makes the marks of a chart reachable: the chart is one tab stop, arrows, Home and End move over its marks, Enter and a
// click choose. What the mark under cursor or pointer means is written below the chart.
import { element } from "./dom.ts";

export interface Cursor {
  /** Marks, each with `data-row` and `data-column` and a title that says what it means. */
  readonly marks: string;
  readonly label: string;
  /** Enter or click on a mark; with Shift, Ctrl or Command it is added to what is chosen. */
  readonly choose?: (row: number, column: number, add: boolean) => void;
  /** The marks, while they are painted and no elements. */
  readonly painted?: () => Marks | undefined;
}

/** Row and column. */
export type Place = readonly [number, number];

/** Where the marks are; each is an element when it is asked for. */
export interface Marks {
  /** The mark at a place, or the first. */
  at(place?: Place): SVGElement | undefined;
  /** Where a key leads from a place. */
  next(from: Place | undefined, key: string): SVGElement | undefined;
  under(event: MouseEvent): SVGElement | undefined;
}

export const STEPS: Readonly<Record<string, Place>> = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] };

const placeOf = (mark: SVGElement): Place => [Number(mark.dataset.row), Number(mark.dataset.column ?? 0)];

/** Marks that are elements. */
function elementMarks(holder: HTMLElement, marks: string): Marks {
  const all = () => [...holder.querySelectorAll<SVGElement>(marks)];
  return {
    at: (place) => (place === undefined ? all()[0] : all().find((mark) => placeOf(mark).every((x, i) => x === place[i]))),
    next: (from, key) =>
      target(
        all().map((mark) => ({ mark, place: placeOf(mark) })),
        from,
        key,
      )?.mark,
    under: ({ target: hit }) => (hit instanceof Element ? (hit.closest<SVGElement>(marks) ?? undefined) : undefined),
  };
}

/** Adds the cursor to the chart's holder and gives the line that names the mark. */
export function addCursor(holder: HTMLElement, { marks, label, choose, painted }: Cursor): HTMLElement {
  const readout = element("p", { class: "readout soft", "aria-live": "polite" });
  const elements = elementMarks(holder, marks);
  const shown = () => painted?.() ?? elements;
  let at: Place | undefined;
  const current = () => (at === undefined ? undefined : shown().at(at));
  const read = (mark: SVGElement | undefined) => {
    const text = mark?.querySelector("title")?.textContent ?? "";
    if (readout.textContent !== text) readout.textContent = text;
  };
  const show = (mark: SVGElement | undefined) => {
    for (const other of holder.querySelectorAll(".cursor")) other.classList.remove("cursor");
    mark?.classList.add("cursor");
    if (mark !== undefined) {
      at = placeOf(mark);
      mark.scrollIntoView?.({ block: "nearest", inline: "nearest" });
    }
    read(mark);
  };
  const chooseAt = (place: Place, event: MouseEvent | KeyboardEvent) => choose?.(...place, event.shiftKey || event.ctrlKey || event.metaKey);
  for (const [name, value] of Object.entries({ tabindex: "0", role: "group", "aria-label": `${label}. Arrow keys move over it.` }))
    holder.setAttribute(name, value);
  // A press takes the focus too; to scroll to the cursor then would move what is pressed away from the pointer.
  let pressed = false;
  holder.addEventListener("pointerdown", () => {
    pressed = true;
  });
  holder.addEventListener("focus", () => {
    if (!pressed) show(current() ?? shown().at());
  });
  holder.addEventListener("blur", () => {
    pressed = false;
    holder.querySelector(".cursor")?.classList.remove("cursor");
  });
  holder.addEventListener("pointermove", (event) => {
    const mark = shown().under(event);
    if (mark !== undefined) read(mark);
  });
  holder.addEventListener("click", (event) => {
    pressed = false;
    const mark = shown().under(event);
    if (mark === undefined) return;
    at = placeOf(mark);
    chooseAt(at, event);
  });
  holder.addEventListener("keydown", (event) => {
    const mark = current();
    if ((event.key === "Enter" || event.key === " ") && mark !== undefined) {
      chooseAt(placeOf(mark), event);
      show(current());
    } else if (STEPS[event.key] || event.key === "Home" || event.key === "End") show(shown().next(at, event.key));
    else return;
    event.preventDefault();
  });
  return readout;
}

interface Placed<T> {
  readonly mark: T;
  readonly place: Place;
}

/** Where a key leads: the nearest mark that way in the same row or column, else in the next one; at the end of all it stays. */
export function target<T>(marks: readonly Placed<T>[], at: Place | undefined, key: string): Placed<T> | undefined {
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
