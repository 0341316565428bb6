// Packages as a user would install them, made of the tfjs that is here: what a device needs of @tensorflow/tfjs-node is its interface.
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import * as tf from "@tensorflow/tfjs-core";
import { PACKAGES_VARIABLE } from "../../merge-core/compute/providers/find-package.ts";
import type { TfjsDevice } from "../../merge-core/compute/providers/load-tfjs.ts";
import { initBackend } from "../../merge-core/nn/backend.ts";
import { temporaryFolder } from "./folders.ts";

const require = createRequire(resolve("package.json"));

/** A folder whose node_modules has the package with this source in CommonJS; `tf` stands there for tfjs with its cpu backend. */
export function packageFolder(name: string, source: string): string {
  const folder = temporaryFolder();
  const target = join(folder, "node_modules", name);
  mkdirSync(target, { recursive: true });
  writeFileSync(join(target, "package.json"), JSON.stringify({ name, version: "4.22.0", main: "index.js" }));
  const [core, cpu] = ["@tensorflow/tfjs-core", "@tensorflow/tfjs-backend-cpu"].map((file) => JSON.stringify(require.resolve(file)));
  writeFileSync(join(target, "index.js"), `const tf = require(${core}); require(${cpu});\n${source}`);
  return folder;
}

export const STAND_IN = 'module.exports = { ...tf, version: { "tfjs-node": "4.22.0" } };';

/** tfjs's cpu backend in the place of TensorFlow, whose every product is at once there. */
export const FAST = `${STAND_IN}
  module.exports.fill = ([n]) => ({ shape: [n, n], dispose() {} });
  module.exports.matMul = (x) => ({ data: async () => (x.shape[0] === 2 ? [7, 10, 15, 22] : [128]), dispose() {} });
  module.exports.slice = (x) => x;`;

/** Ends a device, so that the next one of its name is a fresh one. */
export async function endDevice(device: TfjsDevice): Promise<void> {
  await initBackend({ threads: 1 });
  if (tf.findBackend(device) !== null) tf.removeBackend(device);
}

/** Calls `action` while packages are looked for in the folder first. */
export async function withPackages<T>(folder: string, action: () => Promise<T>): Promise<T> {
  const before = process.env[PACKAGES_VARIABLE];
  process.env[PACKAGES_VARIABLE] = folder;
  try {
    return await action();
  } finally {
    if (before === undefined) delete process.env[PACKAGES_VARIABLE];
    else process.env[PACKAGES_VARIABLE] = before;
  }
}
