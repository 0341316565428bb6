// After the tests of `npm test`: those in a real editor, where a browser and an editor are installed; says so where they are not.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

const chromium = process.env.CHROMIUM ?? "/usr/bin/chromium";
const missing = [chromium, "test/vscode-host/node_modules/.ready"].filter((path) => !existsSync(path));
if (missing.length > 0) {
  console.log(
    `tests in the editor: skipped, since ${missing.join(" and ")} ${missing.length === 1 ? "is" : "are"} missing; .ci/editor-host installs what they need`,
  );
  process.exit(0);
}
process.exit(spawnSync("npm", ["run", "test:editor"], { stdio: "inherit", shell: process.platform === "win32" }).status ?? 1);
