import assert from "node:assert/strict";
import { commandNames, loadCommand, loadCommands } from "../../merge-core/cli/commands.ts";

describe("commands", () => {
  it("are loaded by their own names, in the order of the help", async () => {
    assert.deepEqual(
      (await loadCommands()).map(({ name }) => name),
      commandNames,
    );
    for (const name of commandNames) assert.equal((await loadCommand(name))?.name, name);
  });

  it("are not there under any other", async () => {
    for (const name of ["merges", "", "constructor"]) assert.equal(await loadCommand(name), undefined);
  });
});
