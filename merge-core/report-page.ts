// A page in one file that holds its data, its script and nothing from elsewhere. Node only.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

export interface ReportPage {
  readonly title: string;
  /** What the page draws; its script reads it from the element `results`. */
  readonly data: unknown;
  readonly script: string;
  /** Said where scripts do not run. */
  readonly withoutScript: string;
}

/** A page's script, which the build puts beside this bundle under the page's name. */
export const readPageScript = (page: string): Promise<string> => readFile(fileURLToPath(new URL(`./${page}.js`, import.meta.url)), "utf8");

/** Data inside a script element: no `<` can end it or open a comment, and the two line ends that JSON allows and scripts once did not are escaped. */
export function embedJson(value: unknown): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c").replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");
}

const escapeText = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** The policy lets exactly `script` run, and nothing be loaded; images of data are what charts become for export as PNG. */
export function reportPage({ title, data, script, withoutScript }: ReportPage): string {
  // A script cannot hold its own end tag; inside string and regular expression literals this spelling means the same.
  const safe = script.replaceAll("</script", "<\\/script");
  const hash = createHash("sha256").update(safe).digest("base64");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; script-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeText(title)} - Weightsmith</title>
</head>
<body>
<noscript>${escapeText(withoutScript)}</noscript>
<script type="application/json" id="results">${embedJson(data)}</script>
<script>${safe}</script>
</body>
</html>
`;
}
