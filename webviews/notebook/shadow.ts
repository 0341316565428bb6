// Outputs in roots of their own: several on one page, each with the styles and ids of a page, and none that touch what is around it.
import { element } from "../common/dom.ts";

function sheetOf(text: string): CSSStyleSheet {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(text);
  return sheet;
}

/** Shows content under styles that are written for whole pages; what they say of `body` is said of the content. */
export function shadowed(styles: readonly string[], content: HTMLElement): HTMLElement {
  const host = element("div", { class: "weightsmith-output" });
  const root = host.attachShadow({ mode: "open" });
  // Custom properties come down from the document, where canvases look for them too.
  root.adoptedStyleSheets = styles.map((text) => sheetOf(text.replaceAll(/(^|\n)body(?=[\s,{])/g, "$1.body").replaceAll(":root", ":not(*)")));
  root.append(element("div", { class: "body" }, content));
  return host;
}

/** Gives the document the custom properties of the styles, and nothing else of them. */
export function adoptProperties(styles: readonly string[]): void {
  for (const text of styles) {
    const sheet = sheetOf(text);
    for (let i = sheet.cssRules.length - 1; i >= 0; i--) if (!isOfRoot(sheet.cssRules[i])) sheet.deleteRule(i);
    document.adoptedStyleSheets.push(sheet);
  }
}

function isOfRoot(rule: CSSRule | undefined): boolean {
  if (rule instanceof CSSStyleRule) return rule.selectorText === ":root";
  return rule instanceof CSSMediaRule && [...rule.cssRules].every(isOfRoot);
}
