// Building elements: text always as text nodes, because names in files are nobody's to trust.

type Child = Node | string | undefined;

/** An element with attributes (undefined ones left out) and children. Never takes a style attribute, which the content policy forbids. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string | number | undefined>> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(name, String(value));
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

/** A part of a page: the question that it answers, and how to read the answer. */
export const section = (title: string, text: string, ...content: Child[]): HTMLElement =>
  element("section", {}, element("h2", {}, title), element("p", { class: "soft" }, text), ...content);

/** A name that is broken after its separators where there is no room for it. */
export const breakable = (name: string): Node[] =>
  name.split(/(?<=[./])/).flatMap((part, i) => [...(i === 0 ? [] : [document.createElement("wbr")]), document.createTextNode(part)]);

/** A table of text cells; the first row is the header. `numeric` columns are set right. */
export function textTable(caption: string, header: readonly string[], rows: readonly (readonly string[])[], numeric: readonly number[] = []): HTMLTableElement {
  const classOf = (column: number) => (numeric.includes(column) ? "number" : undefined);
  const cells = (tag: "th" | "td", row: readonly string[]) => row.map((text, i) => element(tag, { class: classOf(i) }, text));
  return element(
    "table",
    {},
    element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...cells("th", header))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells("td", row)))),
  );
}

/** Styles as a constructed sheet, which a policy without inline styles allows. */
export function adoptStyles(...texts: readonly string[]): void {
  document.adoptedStyleSheets.push(
    ...texts.map((text) => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(text);
      return sheet;
    }),
  );
}
