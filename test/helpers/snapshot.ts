// Pictures compared with stored ones. UPDATE_SNAPSHOTS=1 stores what is drawn now.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

/** One element a line, so that a difference shows where it is. */
export const normaliseMarkup = (markup: string): string => `${markup.replaceAll("><", ">\n<")}\n`;

/** Fails if `markup` differs from the stored file, and leaves what was drawn in out/changed/. */
export function matchSnapshot(file: string, markup: string): void {
  const drawn = normaliseMarkup(markup);
  if (process.env.UPDATE_SNAPSHOTS === "1") {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, drawn);
  }
  const stored = existsSync(file) ? readFileSync(file, "utf8") : "";
  if (stored === drawn) return;
  const changed = join("out", "changed", basename(file));
  mkdirSync(dirname(changed), { recursive: true });
  writeFileSync(changed, drawn);
  assert.fail(`${file} is not what is drawn now; see ${changed}, and set UPDATE_SNAPSHOTS=1 if the change is meant`);
}
