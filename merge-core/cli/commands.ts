// The subcommands, in the order help shows them. Each is loaded when it is asked for: to load what trains takes longer than many a command.
import type { Command } from "./command.ts";

const LOADERS: ReadonlyMap<string, () => Promise<Command>> = new Map([
  ["demo", async () => (await import("./demo.ts")).demo],
  ["merge", async () => (await import("./merge.ts")).merge],
  ["plan", async () => (await import("./plan.ts")).plan],
  ["verify", async () => (await import("./verify.ts")).verify],
  ["run", async () => (await import("./run.ts")).run],
  ["methods", async () => (await import("./methods.ts")).methods],
  ["inspect", async () => (await import("./inspect.ts")).inspect],
  ["compare", async () => (await import("./compare.ts")).compare],
  ["align", async () => (await import("./align.ts")).align],
  ["share", async () => (await import("./share.ts")).share],
  ["population", async () => (await import("./population.ts")).population],
  ["train", async () => (await import("./train.ts")).train],
  ["train-front", async () => (await import("./train-front.ts")).trainFront],
  ["pareto", async () => (await import("./pareto.ts")).pareto],
  ["evolve", async () => (await import("./evolve.ts")).evolve],
  ["unlearn", async () => (await import("./unlearn.ts")).unlearn],
  ["adapter", async () => (await import("./adapter.ts")).adapter],
  ["moe", async () => (await import("./moe.ts")).moe],
  ["tokens", async () => (await import("./tokens.ts")).tokens],
  ["eval", async () => (await import("./eval.ts")).evaluateCommand],
  ["fisher", async () => (await import("./statistics.ts")).fisher],
  ["gram", async () => (await import("./statistics.ts")).gram],
  ["search", async () => (await import("./search.ts")).search],
  ["soup", async () => (await import("./search.ts")).soup],
  ["adapt", async () => (await import("./adapt.ts")).adapt],
  ["freeze", async () => (await import("./adapt.ts")).freeze],
  ["doctor", async () => (await import("./doctor.ts")).doctor],
]);

/** What `loadCommand` knows. */
export const commandNames: readonly string[] = [...LOADERS.keys()];

/** The command of that name; undefined if there is none. */
export const loadCommand = async (name: string): Promise<Command | undefined> => LOADERS.get(name)?.();

export const loadCommands = (): Promise<Command[]> => Promise.all([...LOADERS.values()].map((load) => load()));
