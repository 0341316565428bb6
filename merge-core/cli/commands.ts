// The subcommands, in the order help shows them.
import type { Command } from "./command.ts";
import { inspect } from "./inspect.ts";
import { methods } from "./methods.ts";

export const commands: readonly Command[] = [methods, inspect];
