// A command line as one text that a user can change; pure. Double quotes keep words with spaces together, a backslash before a quote or
// a backslash takes it as it is.

/** The text of words. */
export function joinWords(words: readonly string[]): string {
  return words.map((word) => (/^[^\s"\\]+$/.test(word) ? word : `"${word.replaceAll(/["\\]/g, "\\$&")}"`)).join(" ");
}

/** The words of a text; undefined if a quote is left open. */
export function splitWords(text: string): string[] | undefined {
  const words: string[] = [];
  for (let rest = text.trimStart(); rest !== ""; ) {
    const match = /^(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))(?=\s|$)\s*/s.exec(rest);
    if (match === null) return undefined;
    words.push(match[2] ?? (match[1] ?? "").replaceAll(/\\(.)/gs, "$1"));
    rest = rest.slice(match[0].length);
  }
  return words;
}
