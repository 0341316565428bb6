// Help texts, arranged by hand where order helps a newcomer.
import type { Command } from "./command.ts";
import { COMMON_OPTIONS, type OptionSpec } from "./options.ts";

/** Longer usages have a line of their own. */
const USAGE_WIDTH = 40;

/** What `weightsmith` alone prints. */
export function overview(commands: readonly Command[]): string {
  const rows = commands.map((c) => {
    const usage = `${c.name} ${c.usage}`;
    return usage.length > USAGE_WIDTH ? `  ${usage}\n  ${" ".repeat(USAGE_WIDTH)}  ${c.summary}` : `  ${usage.padEnd(USAGE_WIDTH)}  ${c.summary}`;
  });
  return `weightsmith: merge neural-network checkpoints, train adapters, measure what each merge does

Usage: weightsmith COMMAND [ARGUMENTS]

${rows.join("\n")}

  weightsmith COMMAND --help   options and examples of one command
  weightsmith --version

Exit status: 0 done, 1 failed while running, 2 bad input or usage, 130 interrupted.
`;
}

/** What `weightsmith COMMAND --help` prints. */
export function commandHelp(command: Command): string {
  const options = [...command.options, ...COMMON_OPTIONS];
  const shown = options.map(optionUsage);
  const width = Math.max(...shown.map((s) => s.length));
  return `Usage: weightsmith ${command.name} ${command.usage}

${command.help.trim()}

Options:
${options.map((o, i) => `  ${(shown[i] ?? "").padEnd(width)}  ${o.doc}`).join("\n")}
`;
}

function optionUsage(option: OptionSpec): string {
  const short = option.short === undefined ? "" : `, -${option.short}`;
  return `--${option.name}${short}${option.type === "flag" ? "" : ` ${option.value ?? "VALUE"}`}`;
}
