// Writes the README's table of merge methods from the registry: `npm run docs`.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const list = JSON.parse(execFileSync(process.execPath, ["dist/weightsmith.js", "methods", "--json"], { encoding: "utf8" }));
const value = (p) => (p.default === undefined ? "" : p.default === null ? " (unset)" : ` (${p.type === "flag" ? p.default === 1 : p.default})`);
const rows = list.map((m) => {
  const paper = m.paper ? `[${m.paper.year}](${m.paper.url})` : "";
  return `| \`${m.id}\` | ${m.base} | ${m.parameters.map((p) => `${p.name}${value(p)}`).join(", ")} | ${m.summary} | ${paper} |`;
});
const table = ["| method | base model | parameters (default) | what it does | paper |", "| --- | --- | --- | --- | --- |", ...rows].join("\n");
const readme = readFileSync("README.md", "utf8");
const [before, after] = [readme.indexOf("<!-- methods -->"), readme.indexOf("<!-- /methods -->")];
if (before < 0 || after < before) throw new Error("README.md has no <!-- methods --> ... <!-- /methods --> block");
writeFileSync("README.md", `${readme.slice(0, before)}<!-- methods -->\n${table}\n${readme.slice(after)}`);
