// The Markdown of notebooks as elements: headings, paragraphs, lists, tables, quotes, code, emphasis and links. Text only ever
// becomes text nodes, and links only lead to the web or within the page.
import { element, textTable } from "../common/dom.ts";

type Child = Node | string;

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|(?<![\w*])[*_]([^*_]+)[*_](?!\w)|\[([^\]]+)\]\(([^)\s]+)\)/g;

/** Text with code, bold, emphasis and links. */
export function inline(text: string): Child[] {
  const parts: Child[] = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    parts.push(text.slice(end, match.index), inlinePart(match));
    end = match.index + match[0].length;
  }
  return [...parts, text.slice(end)].filter((part) => part !== "");
}

function inlinePart([whole, code, bold, emphasis, label, link]: RegExpMatchArray): Child {
  if (code !== undefined) return element("code", {}, code);
  if (bold !== undefined) return element("strong", {}, ...inline(bold));
  if (emphasis !== undefined) return element("em", {}, ...inline(emphasis));
  if (label !== undefined && link !== undefined) return /^(https?:|#)/.test(link) ? element("a", { href: link }, label) : label;
  return whole;
}

/** Blocks, in their order. */
export function markdown(source: string): HTMLElement[] {
  const lines = source.replace(/^\uFEFF/, "").split(/\r?\n/);
  const blocks: HTMLElement[] = [];
  for (let at = 0; at < lines.length; ) {
    const [block, next] = blockAt(lines, at);
    if (block !== undefined) blocks.push(block);
    at = next;
  }
  return blocks;
}

const ITEM = /^ {0,3}(?:[-*+]|(\d+)[.)])\s+(.*)$/;
const isRow = (line: string | undefined): boolean => line?.trim().startsWith("|") ?? false;

function blockAt(lines: readonly string[], at: number): [HTMLElement | undefined, number] {
  const line = lines[at] ?? "";
  if (line.trim() === "") return [undefined, at + 1];
  const fence = /^ {0,3}(`{3,}|~{3,})/.exec(line)?.[1];
  if (fence !== undefined) return codeBlock(lines, at, fence);
  const [, marks = "", title = ""] = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/.exec(line) ?? [];
  if (marks !== "") return [element(`h${marks.length}` as "h1", {}, ...inline(title)), at + 1];
  if (ITEM.test(line)) return list(lines, at);
  if (isRow(line) && /^[\s|:-]+$/.test(lines[at + 1] ?? "")) return table(lines, at);
  if (/^ {0,3}>/.test(line)) return quote(lines, at);
  return paragraph(lines, at);
}

function codeBlock(lines: readonly string[], at: number, fence: string): [HTMLElement, number] {
  const rest = lines.slice(at + 1);
  const length = rest.findIndex((line) => line.trim().startsWith(fence) && line.trim().replaceAll(fence[0] ?? "", "") === "");
  const body = length < 0 ? rest : rest.slice(0, length);
  return [element("pre", {}, body.join("\n")), at + body.length + 2];
}

function list(lines: readonly string[], at: number): [HTMLElement, number] {
  const items: string[] = [];
  const ordered = ITEM.exec(lines[at] ?? "")?.[1] !== undefined;
  let next = at;
  for (; next < lines.length && (lines[next] ?? "").trim() !== ""; next++) {
    const item = ITEM.exec(lines[next] ?? "")?.[2];
    if (item !== undefined) items.push(item);
    else items.push(`${items.pop() ?? ""} ${(lines[next] ?? "").trim()}`);
  }
  return [element(ordered ? "ol" : "ul", {}, ...items.map((item) => element("li", {}, ...inline(item)))), next];
}

function table(lines: readonly string[], at: number): [HTMLElement, number] {
  const cells = (line: string) =>
    line
      .trim()
      .replace(/^\||\|$/g, "")
      .split("|")
      .map((cell) => cell.trim());
  let next = at + 2;
  while (isRow(lines[next])) next++;
  return [textTable("", cells(lines[at] ?? ""), lines.slice(at + 2, next).map(cells)), next];
}

function quote(lines: readonly string[], at: number): [HTMLElement, number] {
  let next = at;
  while (/^ {0,3}>/.test(lines[next] ?? "")) next++;
  const inner = lines.slice(at, next).map((line) => line.replace(/^ {0,3}> ?/, ""));
  return [element("blockquote", {}, ...markdown(inner.join("\n"))), next];
}

function paragraph(lines: readonly string[], at: number): [HTMLElement, number] {
  let next = at + 1;
  while (next < lines.length && (lines[next] ?? "").trim() !== "" && !/^ {0,3}(#{1,6}\s|>|`{3}|~{3})/.test(lines[next] ?? "") && !ITEM.test(lines[next] ?? ""))
    next++;
  const text = lines.slice(at, next).join(" ");
  return [element("p", {}, ...inline(text.trim())), next];
}
