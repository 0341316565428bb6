// Fake packages that fail in each of the ways the real ones do, and one that works.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BLAS_VARIABLE } from "../../../merge-core/compute/providers/blas.ts";
import { blasEngine, optionalEngines, webgpuEngine } from "../../../merge-core/compute/providers/engines.ts";
import { findPackage } from "../../../merge-core/compute/providers/find-package.ts";
import { type EngineReport, probeEngine } from "../../../merge-core/compute/providers/probe.ts";
import { softwareGpu } from "../../helpers/software-gpu.ts";

const TFJS = optionalEngines(1).find((engine) => engine.id === "tfjs-node-gpu");

/** A package with tfjs's interface whose product is what `matMul` says. */
const fakeTfjs = (matMul: string) => `
  export const version = { "tfjs-node": "4.22.0" };
  export const ready = async () => {};
  export const backend = () => ({});
  export const getBackend = () => "tensorflow";
  export const tensor2d = (values, [rows]) => ({ values, n: rows });
  export const fill = ([n], value) => ({ values: [value], n, dispose() {} });
  export const slice = (x) => x;
  export const matMul = ${matMul};`;

const PRODUCT = "(a) => ({ data: async () => a.n === 2 ? [7, 10, 15, 22] : a.values, dispose() {} })";

describe("probeEngine", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "weightsmith-probe-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  async function probeWith(source: string | undefined, timeLimitMs?: number): Promise<EngineReport> {
    if (source !== undefined) {
      const target = join(folder, "node_modules/@tensorflow/tfjs-node-gpu");
      mkdirSync(target, { recursive: true });
      writeFileSync(join(target, "package.json"), '{ "name": "@tensorflow/tfjs-node-gpu", "type": "module", "main": "index.js" }');
      writeFileSync(join(target, "index.js"), source);
    }
    assert.ok(TFJS);
    return probeEngine(TFJS, { from: folder, cwd: folder, ...(timeLimitMs === undefined ? {} : { timeLimitMs }) });
  }

  it("says a missing package is absent and how to install it", async () => {
    const report = await probeWith(undefined);
    assert.equal(report.status, "absent");
    assert.match(report.install ?? "", /^npm install --prefix \S+\.weightsmith"? @tensorflow\/tfjs-node-gpu$/);
  });

  it("reports version, device and a measured figure of one that works", async () => {
    const report = await probeWith(fakeTfjs(PRODUCT));
    assert.equal(report.status, "works");
    assert.equal(report.version, "4.22.0");
    assert.equal(report.device, "tensorflow");
    assert.ok(report.figure !== undefined && report.figure > 0);
  });

  it("knows the version of webgpu, and the memory of its devices, where there is one", async function () {
    this.timeout(60_000);
    const env = softwareGpu();
    if (env === undefined) return this.skip();
    const before = { ...process.env };
    Object.assign(process.env, env);
    try {
      for (const engine of optionalEngines(1).filter(({ id }) => id.endsWith("webgpu"))) {
        if (engine.id === "tfjs-webgpu" && findPackage("@tensorflow/tfjs-backend-webgpu") === undefined) continue;
        const { status, version, memoryBytes = 0 } = await probeEngine(engine, { from: process.cwd() });
        assert.equal(status, "works");
        assert.match(version ?? "", /^\d+\.\d+\.\d+/);
        assert.ok(memoryBytes >= 2 ** 27, `${memoryBytes} bytes`);
      }
    } finally {
      for (const name of Object.keys(env)) if (!(name in before)) delete process.env[name];
      Object.assign(process.env, before);
    }
  });

  it("survives a package whose native part is missing", async () => {
    const report = await probeWith('throw new Error("The Node.js native addon module (tfjs_binding.node) can not be found at path: x");');
    assert.equal(report.status, "broken");
    assert.match(report.reason ?? "", /^The Node.js native addon module/);
  });

  it("tells a package that lacks a part of its own from one that is not there", async () => {
    const esm = await probeWith('import "no-such-part";');
    assert.equal(esm.status, "broken");
    assert.match(esm.reason ?? "", /no-such-part/);
    const commonJs = await probeWith('import { createRequire } from "node:module"; createRequire(import.meta.url)("no-such-part");');
    assert.equal(commonJs.status, "broken");
    assert.match(commonJs.reason ?? "", /no-such-part/);
  });

  it("survives one that loads and throws on the first operation", async () => {
    const report = await probeWith(fakeTfjs('() => { throw new TypeError("(0 , util_1.isNullOrUndefined) is not a function"); }'));
    assert.equal(report.status, "broken");
    assert.match(report.reason ?? "", /isNullOrUndefined/);
  });

  it("does not believe one whose numbers are wrong", async () => {
    const report = await probeWith(fakeTfjs("() => ({ data: async () => [0, 0, 0, 0], dispose() {} })"));
    assert.equal(report.status, "broken");
    assert.match(report.reason ?? "", /wrong product: 0, 0, 0, 0/);
  });

  it("survives a crash and a hang", async () => {
    const crash = await probeWith("process.abort();");
    assert.equal(crash.status, "broken");
    assert.match(crash.reason ?? "", /crashed with SIGABRT/);
    const fault = await probeWith('process.kill(process.pid, "SIGSEGV"); await new Promise(() => {});');
    assert.equal(fault.status, "broken");
    assert.match(fault.reason ?? "", /crashed with SIGSEGV/);
    const hang = await probeWith("setInterval(() => {}, 1000); await new Promise(() => {});", 1500);
    assert.equal(hang.status, "broken");
    assert.match(hang.reason ?? "", /no answer within 1.5 s/);
  });

  it("says what to do where the package is there and the GPU is not", async () => {
    const target = join(folder, "node_modules/webgpu");
    mkdirSync(target, { recursive: true });
    writeFileSync(join(target, "package.json"), '{ "name": "webgpu", "type": "module", "main": "index.js" }');
    writeFileSync(join(target, "index.js"), "export const globals = {}; export const create = () => ({ requestAdapter: async () => null });");
    const report = await probeEngine(webgpuEngine, { from: folder, cwd: folder });
    assert.equal(report.status, "broken");
    assert.match(`${report.reason} ${report.install}`, /no GPU adapter found.*(driver|Metal)/);
    assert.doesNotMatch(report.install ?? "", /npm install/);
  });

  it("restores what newer Node versions removed", async () => {
    const report = await probeWith(
      `import util from "node:util"; if (typeof util.isNullOrUndefined !== "function") throw new Error("gone");${fakeTfjs(PRODUCT)}`,
    );
    assert.equal(report.status, "works");
  });

  it("gives a parseable script for every engine that is a package, all of which are absent from an empty folder", async () => {
    // A folder above the temporary one may have packages of its own.
    const packages = optionalEngines(1).filter(({ id }) => id !== "blas" && (id !== "webgpu" || findPackage(id, [folder]) === undefined));
    const reports: EngineReport[] = [];
    for (const engine of packages) reports.push(await probeEngine(engine, { from: folder, cwd: folder }));
    assert.deepEqual(
      reports.map((r) => r.status),
      packages.map(() => "absent"),
    );
  });

  it("says which BLAS library is missing", async () => {
    const before = process.env[BLAS_VARIABLE];
    process.env[BLAS_VARIABLE] = join(folder, "libnone.so");
    try {
      const report = await probeEngine(blasEngine(1), { from: folder });
      assert.equal(report.status, "absent");
      // Without koffi, which is optional, nothing is looked for.
      assert.match(report.reason ?? "", /libnone\.so|not installed/);
    } finally {
      if (before === undefined) delete process.env[BLAS_VARIABLE];
      else process.env[BLAS_VARIABLE] = before;
    }
  });
});
