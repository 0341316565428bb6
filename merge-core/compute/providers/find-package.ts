// Where optional packages are looked for. They are large and differ from machine to machine, so none comes with Weightsmith, and the
// editor's copy has no node_modules of its own.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

export const NOT_INSTALLED = "is not installed";

/** The folder named by this variable comes first. */
export const PACKAGES_VARIABLE = "WEIGHTSMITH_PACKAGES";

/** A folder of the user's own, which every copy of Weightsmith looks into, the editor's too. */
const userPackages = (): string => join(homedir(), ".weightsmith");

/** The command that installs packages where they are found. */
export const installCommand = (packages: string): string =>
  `npm install --prefix ${/\s/.test(userPackages()) ? `"${userPackages()}"` : userPackages()} ${packages}`;

/** Folders in whose node_modules, or in those above, packages are looked for; the first that has one wins. */
export function packagePlaces(env: NodeJS.ProcessEnv = process.env): string[] {
  const program = process.argv[1];
  // Where `npm install --global` puts packages: beside Node or where Debian has them, on Windows a folder of the user's.
  const global = process.platform === "win32" ? [join(env.APPDATA ?? "", "npm")] : [join(dirname(process.execPath), "..", "lib"), "/usr/local/lib"];
  const named = env[PACKAGES_VARIABLE];
  const beside = program === undefined ? [] : [dirname(resolve(program))];
  return [...(named ? [resolve(named)] : []), ...beside, process.cwd(), userPackages(), ...global];
}

/** The file to import, or undefined if the package is nowhere. */
export function findPackage(name: string, places: readonly string[] = packagePlaces(), env: NodeJS.ProcessEnv = process.env): string | undefined {
  for (const place of places) {
    try {
      return createRequire(join(place, "package.json")).resolve(name);
    } catch {
      // Not here.
    }
  }
  // Node reads this variable when it starts; a worker or a changed environment does not have it.
  const folders = (env.NODE_PATH ?? "").split(delimiter).filter((folder) => folder !== "" && existsSync(join(folder, name)));
  return folders[0] === undefined ? undefined : createRequire(join(folders[0], "package.json")).resolve(join(folders[0], name));
}

/** Imports an optional package. @throws Error saying NOT_INSTALLED if it is nowhere, or what the package throws */
export async function importPackage(name: string, places?: readonly string[]): Promise<unknown> {
  const file = findPackage(name, places);
  if (file === undefined) throw new Error(`the package ${name} ${NOT_INSTALLED}`);
  return import(pathToFileURL(file).href);
}
