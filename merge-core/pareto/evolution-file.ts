// evolve.json: all trials of an evolutionary search, and the best. Plain data, so that pages can import it.
import type { FrontObjective } from "./front-file.ts";

export interface EvolutionTrial {
  readonly id: number;
  /** 0 is the start. */
  readonly generation: number;
  /** What was searched, in the recipe's own units; of a stack 1 for each layer that runs. */
  readonly values: readonly number[];
  /** By objective; of a rejected trial, on the cheap part of the data. */
  readonly measured: Readonly<Record<string, number>>;
  /** Weighted sum of what was measured, larger being better; null where it failed. */
  readonly fitness: number | null;
  /** `rejected`: measured on the cheap part alone, and not among its generation's best there. */
  readonly status: "done" | "rejected" | "failed";
  readonly error?: string;
}

export interface EvolutionFile {
  readonly format: "weightsmith-evolution";
  readonly version: 1;
  readonly weightsmith: string;
  readonly config: { readonly file: string; readonly text: string };
  readonly seed: number;
  readonly objectives: readonly (FrontObjective & { readonly weight: number })[];
  /** Names of the searched numbers. */
  readonly names: readonly string[];
  readonly trials: readonly EvolutionTrial[];
  /** Id of the trial with the highest fitness on the searched data. */
  readonly best: number;
  /** The best trial's recipe; relative paths start at the configuration's folder. */
  readonly recipe: string;
  /** On the data of `report`, which the search did not see unless `sameSplit`. */
  readonly reported: {
    readonly start: Readonly<Record<string, number>>;
    readonly best: Readonly<Record<string, number>>;
    /** Why one of the two could not be measured there. */
    readonly error?: string;
  } | null;
  /** The user allowed the reported split to be one that was searched on. */
  readonly sameSplit: boolean;
  /** Why the search ended. */
  readonly stopped: string;
}

export const EVOLUTION_FILE = "evolve.json";
