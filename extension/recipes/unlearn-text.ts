// The text of a new configuration of `weightsmith unlearn`; pure.
import { yamlText } from "../../merge-core/recipe/recipe-fixes.ts";

export interface NewUnlearning {
  readonly method: string;
  readonly model: string;
  readonly expert: string | undefined;
  readonly forget: readonly string[];
  readonly retain: readonly string[];
}

/** A configuration that is complete as it stands. One set of files serves to edit, to choose and to report until the user splits it. */
export function unlearnText({ method, model, expert, forget, retain }: NewUnlearning): string {
  const files = (paths: readonly string[]) => `[${paths.map(yamlText).join(", ")}]`;
  const lines = [
    "# For figures that hold beyond this data, name other files for each: { train: ..., validation: ..., test: ... }",
    `model: ${yamlText(model)}`,
    `method: ${method}`,
    ...(expert === undefined ? [] : [`expert: ${yamlText(expert)}`]),
    `forget: ${files(forget)}`,
    `retain: ${files(retain)}`,
    "# Share of what is kept that must be left.",
    "floor: 0.95",
    "# Examples of each file that are used; more are surer and slower.",
    "limit: 64",
  ];
  return `${lines.join("\n")}\n`;
}
