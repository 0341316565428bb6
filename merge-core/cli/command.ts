import type { Arguments, OptionSpec } from "./options.ts";
import type { Output } from "./output.ts";

/** What a running command is given besides its arguments. */
export interface CommandContext {
  readonly output: Output;
  /** Fires on Ctrl-C. */
  readonly signal: AbortSignal;
}

/** One subcommand: one file. */
export interface Command {
  readonly name: string;
  readonly summary: string;
  /** Arguments as shown after the name, e.g. `RECIPE OUT`. */
  readonly usage: string;
  /** Further help: what it does, an example. */
  readonly help: string;
  readonly options: readonly OptionSpec[];
  /** For a group such as `adapter`: its commands, named `adapter merge` and the like. */
  readonly subcommands?: readonly Command[];
  run(args: Arguments, context: CommandContext): Promise<void>;
}
