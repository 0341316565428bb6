#!/usr/bin/env node
// The weightsmith program: finds the command, runs it, turns errors into text and an exit status.
import { inputError, nearestName, WeightsmithError } from "../diagnostics.ts";
import { VERSION } from "../version.ts";
import type { Command } from "./command.ts";
import { commandNames, loadCommand, loadCommands } from "./commands.ts";
import { commandHelp, overview } from "./help.ts";
import { COMMON_OPTIONS, flag, parseArguments } from "./options.ts";
import { Output } from "./output.ts";

/** Runs one command line. Returns the exit status; never throws. */
export async function main(
  argv: readonly string[],
  streams = { out: process.stdout as NodeJS.WritableStream, err: process.stderr as NodeJS.WritableStream & { isTTY?: boolean } },
): Promise<number> {
  const [name, ...rest] = argv;
  const wants = (long: string) => argv.includes(long);
  const output = new Output(streams, { json: wants("--json"), quiet: wants("--quiet") || wants("-q"), records: wants("--progress-json") });
  const controller = new AbortController();
  const onInterrupt = () => {
    if (controller.signal.aborted) process.exit(130);
    controller.abort();
    output.note("stopping; press Ctrl-C again to stop at once");
  };
  process.on("SIGINT", onInterrupt);
  process.on("SIGTERM", onInterrupt);
  try {
    if (name === undefined || name === "help" || name === "--help" || name === "-h")
      streams.out.write(rest[0] === undefined ? overview(await loadCommands()) : commandHelp(await findCommand(rest[0])));
    else if (name === "--version" || name === "-V") streams.out.write(`${VERSION}\n`);
    else await runCommand(await findCommand(name), rest, { output, signal: controller.signal }, streams.out);
    return 0;
  } catch (error) {
    return report(error, output, wants("--json"), wants("--debug"));
  } finally {
    process.off("SIGINT", onInterrupt);
    process.off("SIGTERM", onInterrupt);
  }
}

async function runCommand(
  command: Command,
  argv: readonly string[],
  context: { output: Output; signal: AbortSignal },
  out: NodeJS.WritableStream,
): Promise<void> {
  const [name, ...rest] = argv;
  if (command.subcommands !== undefined && name !== undefined && !name.startsWith("-"))
    return runCommand(findSubcommand(`${command.name} ${name}`, command.subcommands), rest, context, out);
  const args = parseArguments(argv, [...command.options, ...COMMON_OPTIONS]);
  if (flag(args, "help")) out.write(commandHelp(command));
  else await command.run(args, context);
}

async function findCommand(name: string): Promise<Command> {
  return (await loadCommand(name)) ?? unknownCommand(name, commandNames);
}

function findSubcommand(name: string, known: readonly Command[]): Command {
  return (
    known.find((c) => c.name === name) ??
    unknownCommand(
      name,
      known.map((c) => c.name),
    )
  );
}

function unknownCommand(name: string, known: readonly string[]): never {
  const near = nearestName(name, known);
  throw inputError("usage", "unknown command", { found: name, remedy: near === undefined ? "see weightsmith --help" : `did you mean ${near}?` });
}

function report(error: unknown, output: Output, json: boolean, debug: boolean): number {
  const known = error instanceof WeightsmithError;
  const message = error instanceof Error ? error.message : String(error);
  const diagnostics = known ? error.diagnostics : [{ code: "internal", severity: "error" as const, message, remedy: "run again with --debug and report this" }];
  if (json) output.result({ ok: false, diagnostics }, "");
  output.diagnostics(diagnostics);
  if (debug && error instanceof Error) output.note(error.stack ?? "");
  return known ? error.exitCode : 1;
}

process.exitCode = await main(process.argv.slice(2));
// What another thread still does when work is given up would hold the process.
if (process.exitCode === 130) process.exit();
