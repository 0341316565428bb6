// report.html: one file that holds its data, its script and nothing from elsewhere. Node only.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { DemoResults } from "./demo-results.ts";

/** The page's script, which the build puts beside this bundle. */
export const readReportScript = (): Promise<string> => readFile(fileURLToPath(new URL("./report.js", import.meta.url)), "utf8");

/** Data inside a script element: no `<` can end it or open a comment, and the two line ends that JSON allows and scripts once did not are escaped. */
export function embedJson(value: unknown): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c").replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");
}

/** The policy lets exactly `script` run, and nothing be loaded. */
export function reportHtml(results: DemoResults, script: string): string {
  // A script cannot hold its own end tag; inside string and regular expression literals this spelling means the same.
  const safe = script.replaceAll("</script", "<\\/script");
  const hash = createHash("sha256").update(safe).digest("base64");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'sha256-${hash}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Merging four experts - Weightsmith</title>
</head>
<body>
<noscript>This page draws its charts with a script that it contains. The numbers are also in results.json beside it.</noscript>
<script type="application/json" id="results">${embedJson(results)}</script>
<script>${safe}</script>
</body>
</html>
`;
}
