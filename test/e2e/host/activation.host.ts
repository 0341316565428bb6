import assert from "node:assert/strict";
import * as vscode from "vscode";

const ID = "weightsmith.weightsmith";
const LIMIT_MS = 100;

describe("activation", () => {
  it("waits until the extension is needed, then takes under 100 ms", async () => {
    const extension = vscode.extensions.getExtension(ID);
    assert.ok(extension, "the extension is installed");
    assert.equal(extension.isActive, false, "nothing has asked for it yet");
    const start = performance.now();
    await extension.activate();
    const [own] = performance.getEntriesByName("weightsmith activation");
    assert.ok(own, "the extension measures itself");
    console.log(`figure: activation took ${own.duration.toFixed(0)} ms, ${(performance.now() - start).toFixed(0)} ms with the way to the browser and back`);
    assert.ok(own.duration < LIMIT_MS, `${own.duration.toFixed(0)} ms`);
  });

  it("registers every command of the manifest, and no other", async () => {
    const manifest = vscode.extensions.getExtension(ID)?.packageJSON as { contributes: { commands: { command: string }[] } };
    const contributed = manifest.contributes.commands.map(({ command }) => command).sort();
    const registered = (await vscode.commands.getCommands(true)).filter((id) => /^weightsmith\.\w+$/.test(id));
    // The editor makes commands of its own for views and custom editors, with a dot more or named after the container.
    assert.deepEqual(registered.sort(), contributed);
  });
});
