// weightsmith methods [NAME]: the catalogue, generated from the registry.
import { inputError, nearestName } from "../diagnostics.ts";
import type { MergeMethod, ParameterSpec } from "../methods/method.ts";
import { findMethod, methods as registry } from "../methods/registry.ts";
import type { Command } from "./command.ts";
import { formatTable } from "./output.ts";

export const methods: Command = {
  name: "methods",
  summary: "list merge methods, or describe one",
  usage: "[NAME]",
  help: `
Lists every merge method with its parameters, or describes the one named: formula, paper, and each parameter's
default and range. The names are those of recipes.

  weightsmith methods
  weightsmith methods ties`,
  options: [],
  async run(args, { output }) {
    const [name] = args.positionals;
    if (name === undefined) output.result(registry.map(describe), formatTable(["method", "base", "parameters", "summary"], registry.map(row)));
    else {
      const method = findMethod(name);
      if (method === undefined) throw unknownMethod(name);
      output.result(describe(method), page(method));
    }
  },
};

function unknownMethod(name: string) {
  const near = nearestName(
    name,
    registry.map((m) => m.id),
  );
  return inputError("unknown-method", "there is no such merge method", {
    found: name,
    remedy: near === undefined ? "see weightsmith methods" : `did you mean ${near}?`,
  });
}

/** The description as data: everything but the computation itself. */
function describe({ merge: _, ...description }: MergeMethod) {
  return { ...description, models: { min: description.models.min, max: Number.isFinite(description.models.max) ? description.models.max : null } };
}

const row = (m: MergeMethod): string[] => [m.id, m.base, m.parameters.map((p) => p.name).join(", "), m.summary];

function page(m: MergeMethod): string {
  const paper = m.paper === undefined ? "" : `\n${m.paper.title} (${m.paper.year}), ${m.paper.url}\n`;
  const parameters = m.parameters.map((p) => [p.name, p.scope === "model" ? "per model" : "whole merge", p.type, defaultText(p), rangeText(p), p.doc]);
  const count = m.models.min === m.models.max ? `${m.models.min}` : `${m.models.min}${Number.isFinite(m.models.max) ? ` to ${m.models.max}` : " or more"}`;
  return `${m.id}: ${m.title}\n\n${m.summary}\n\n  ${m.formula.replaceAll("\n", "\n  ")}\n${paper}\nbase model: ${m.base}; models besides it: ${count}; kind: ${m.kind}\n\n${
    parameters.length === 0 ? "no parameters" : formatTable(["parameter", "scope", "type", "default", "range", ""], parameters)
  }`;
}

function defaultText(p: ParameterSpec): string {
  if (p.default === undefined) return "required";
  if (p.default === null) return "unset";
  return p.type === "flag" ? String(p.default === 1) : String(p.default);
}

function rangeText({ range }: ParameterSpec): string {
  if (range === undefined) return "";
  return `${range.minOpen || range.min === undefined ? "(" : "["}${range.min ?? "-inf"}, ${range.max ?? "inf"}${range.maxOpen || range.max === undefined ? ")" : "]"}`;
}
