import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const made: string[] = [];

/** A fresh folder, removed when the test process ends. */
export function temporaryFolder(): string {
  if (made.length === 0) process.once("exit", () => made.forEach((folder) => void rmSync(folder, { recursive: true, force: true })));
  const folder = mkdtempSync(join(tmpdir(), "weightsmith-test-"));
  made.push(folder);
  return folder;
}
