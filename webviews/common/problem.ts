// A file that cannot be shown: what is wrong, where, and what to do.
import type { Diagnostic } from "../../merge-core/diagnostics.ts";
import { element, textTable } from "./dom.ts";

/** What to tell of anything that was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** @param title what cannot be done, e.g. `This checkpoint cannot be read` */
export function showProblem(title: string, path: string, diagnostics: readonly Diagnostic[], reload: () => void, testId: string): HTMLElement {
  const button = element("button", { type: "button" }, "Read Again");
  button.addEventListener("click", reload);
  return element(
    "section",
    { class: "problem", role: "alert", "data-testid": testId },
    element("h1", {}, title),
    element("p", { class: "name" }, path),
    ...diagnostics.map(problemTable),
    button,
  );
}

function problemTable(d: Diagnostic): HTMLElement {
  const facts: [string, string | undefined][] = [
    ["File", d.file],
    ["Found", d.found],
    ["Expected", d.expected],
    ["What to do", d.remedy],
    ["Note", d.notes?.join("\n")],
    ["Code", d.code],
  ];
  return textTable(
    d.message,
    ["", ""],
    facts.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}
