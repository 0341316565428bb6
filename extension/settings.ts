// The settings, each read in one place.
import * as vscode from "vscode";

const read = <T>(name: string, fallback: T): T => vscode.workspace.getConfiguration("weightsmith").get<T>(name) ?? fallback;

/** The memory budget as the command line takes it; unset is left to its default. */
export function memoryOptions(): string[] {
  const memory = read("memory", "").trim();
  return memory === "" ? [] : ["--memory", memory];
}

/** The number of threads likewise; 0 leaves it to the program. */
export function threadOptions(): string[] {
  const threads = read("threads", 0);
  return threads > 0 ? ["--threads", String(threads)] : [];
}

/** What computes whole matrices of a merge, likewise. */
export const deviceOptions = (): string[] => ["--device", read("device", "cpu")];

/** How many runs go on at once; 0 for any number. */
export const maxJobs = (): number => read("maxJobs", 1);

/** Folders that are searched for models besides the workspace. */
export const modelFolders = (): readonly string[] => read<string[]>("modelFolders", []);

/** The Hugging Face cache as the user names it; empty for where its own tools put it. */
export const cacheFolder = (): string => read("cacheFolder", "").trim();

/** Whether recipes are checked against the headers of the models they name. */
export const checksModels = (): boolean => read("recipes.checkModels", true);
