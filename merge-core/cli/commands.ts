// The subcommands, in the order help shows them.
import type { Command } from "./command.ts";
import { doctor } from "./doctor.ts";
import { inspect } from "./inspect.ts";
import { methods } from "./methods.ts";
import { train } from "./train.ts";

export const commands: readonly Command[] = [methods, inspect, train, doctor];
