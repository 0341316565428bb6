// Runs inside the extension host: mocha over the files beside this one. The report goes to a file, which tells more than an exit code.
import Mocha from "mocha";

export async function run(): Promise<void> {
  const mocha = new Mocha({ ui: "bdd", timeout: 20_000, reporter: "json", reporterOptions: { output: process.env.MOCHA_REPORT } });
  mocha.suite.emit("pre-require", globalThis, "", mocha);
  // In this order: activation is measured while nothing has activated the extension yet.
  await import("./activation.host.ts");
  await import("./recipes.host.ts");
  await import("./virtual.host.ts");
  await new Promise<void>((resolve, reject) => {
    mocha.run((failures) => (failures === 0 ? resolve() : reject(new Error(`${failures} tests failed`))));
  });
}
