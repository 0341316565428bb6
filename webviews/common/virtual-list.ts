// A list of any number of rows of one height, of which only those in sight are in the document.
// One tab stop; arrows, Page, Home and End move the active row, Enter acts on it.
import { element } from "./dom.ts";

export interface VirtualListOptions {
  readonly label: string;
  readonly columns: number;
  readonly rowHeight: number;
  /** Fills a row's element, which is reused: set everything. */
  render(index: number, row: HTMLElement): void;
  /** Enter or click on a row. */
  activate(index: number, event: Event): void;
}

/** Browsers lose precision in taller elements; beyond it the scroll bar stands for more rows than pixels. */
const MAX_HEIGHT = 8_000_000;

export class VirtualList {
  readonly element: HTMLElement;
  readonly #options: VirtualListOptions;
  readonly #sizer = element("div", { class: "list-sizer", role: "presentation" });
  readonly #pool: HTMLElement[] = [];
  #count = 0;
  #active = 0;
  #frame = 0;

  constructor(options: VirtualListOptions) {
    this.#options = options;
    this.element = element("div", { class: "list", role: "grid", tabindex: 0, "aria-label": options.label, "aria-colcount": options.columns });
    this.element.append(this.#sizer);
    this.element.addEventListener("scroll", () => this.#schedule(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.#onKey(event));
    this.element.addEventListener("click", (event) => this.#onClick(event));
    new ResizeObserver(() => this.#schedule()).observe(this.element);
  }

  /** Room that the scroll bar takes, for a header above the list to leave free too. */
  get scrollBarWidth(): number {
    return this.element.offsetWidth - this.element.clientWidth;
  }

  get activeIndex(): number {
    return this.#active;
  }

  /** Rows changed: how many there are now, and whether to go back to the top. */
  reset(count: number, toTop = true): void {
    this.#count = count;
    this.#active = toTop ? 0 : Math.max(0, Math.min(this.#active, count - 1));
    this.element.setAttribute("aria-rowcount", String(count));
    this.#sizer.style.height = `${Math.min(MAX_HEIGHT, count * this.#options.rowHeight)}px`;
    if (toTop) this.element.scrollTop = 0;
    this.#draw();
  }

  /** Pixels of content that one pixel of scrolling stands for; 1 up to MAX_HEIGHT. */
  get #stretch(): number {
    const room = this.element.clientHeight;
    const full = this.#count * this.#options.rowHeight;
    return full <= MAX_HEIGHT ? 1 : (full - room) / (MAX_HEIGHT - room);
  }

  #schedule(): void {
    if (this.#frame !== 0) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw(): void {
    const { rowHeight } = this.#options;
    const scrolled = this.element.scrollTop;
    const content = scrolled * this.#stretch;
    const first = Math.max(0, Math.floor(content / rowHeight));
    const shown = Math.min(this.#count - first, Math.ceil(this.element.clientHeight / rowHeight) + 1);
    for (let i = 0; i < Math.max(shown, this.#pool.length); i++) {
      const row = this.#pool[i] ?? this.#addRow();
      row.hidden = i >= shown;
      if (i < shown) this.#place(row, first + i, scrolled + (first + i) * rowHeight - content);
    }
    this.element.setAttribute("aria-activedescendant", this.#pool.find((row) => Number(row.dataset.index) === this.#active && !row.hidden)?.id ?? "");
  }

  #place(row: HTMLElement, index: number, top: number): void {
    row.dataset.index = String(index);
    row.setAttribute("aria-rowindex", String(index + 1));
    row.setAttribute("aria-selected", String(index === this.#active));
    row.style.transform = `translateY(${top}px)`;
    this.#options.render(index, row);
  }

  #addRow(): HTMLElement {
    const row = element("div", { class: "list-row", role: "row", id: `${this.#options.label.replaceAll(" ", "-")}-${this.#pool.length}` });
    row.style.height = `${this.#options.rowHeight}px`;
    this.#pool.push(row);
    this.#sizer.append(row);
    return row;
  }

  #onKey(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.#options.rowHeight) - 1);
    const steps: Readonly<Record<string, number>> = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.#count, End: this.#count };
    const step = steps[event.key];
    if (step !== undefined) this.#moveTo(this.#active + step);
    else if (event.key === "Enter" || event.key === " ") this.#options.activate(this.#active, event);
    else return;
    event.preventDefault();
  }

  #moveTo(index: number): void {
    this.#active = Math.max(0, Math.min(this.#count - 1, index));
    const { rowHeight } = this.#options;
    const top = this.#active * rowHeight;
    const content = this.element.scrollTop * this.#stretch;
    if (top < content) this.element.scrollTop = top / this.#stretch;
    else if (top + rowHeight > content + this.element.clientHeight) this.element.scrollTop = (top + rowHeight - this.element.clientHeight) / this.#stretch;
    this.#draw();
  }

  #onClick(event: MouseEvent): void {
    const row = event.target instanceof Element ? event.target.closest<HTMLElement>(".list-row") : null;
    if (row === null) return;
    this.#active = Number(row.dataset.index);
    this.#draw();
    this.#options.activate(this.#active, event);
  }
}
