import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { outcomeOf, readStderr } from "../../../extension/jobs/job.ts";
import { isAlive, listJobs, queueJob, readEnd, readJobFile, removeJob, startJob } from "../../../extension/jobs/job-folder.ts";
import { temporaryFolder } from "../../helpers/folders.ts";

/** A folder with a program in the place of the command line. */
function extensionWith(program: string): string {
  const folder = temporaryFolder();
  mkdirSync(join(folder, "dist"));
  writeFileSync(join(folder, "dist", "package.json"), '{"type":"module"}');
  writeFileSync(join(folder, "dist", "weightsmith.js"), program);
  return folder;
}

const request = { verb: "merge", title: "a", args: ["recipe.yml", "out"], cwd: "/" };

async function ended(root: string, id: string): Promise<void> {
  for (const limit = Date.now() + 10_000; Date.now() < limit; await new Promise((r) => setTimeout(r, 20))) {
    const record = listJobs(root).find((job) => job.id === id);
    if (record !== undefined && !isAlive(record)) return;
  }
  assert.fail("the job did not end");
}

describe("jobs on disk", () => {
  it("run with the arguments given, and leave result and messages in files", async () => {
    const extension = extensionWith(`console.log(JSON.stringify(process.argv.slice(2))); console.error("note");`);
    const root = temporaryFolder();
    const record = startJob(root, extension, request);
    await ended(root, record.id);
    assert.deepEqual(JSON.parse(readJobFile(root, record.id, "stdout").text), ["merge", "recipe.yml", "out", "--json", "--progress-json"]);
    assert.deepEqual(readStderr(readJobFile(root, record.id, "stderr").text).lines, ["note"]);
    assert.deepEqual(listJobs(root), [record]);
  });

  it("of a group of commands run with its parts as words of their own", async () => {
    const extension = extensionWith("console.log(JSON.stringify(process.argv.slice(2)));");
    const root = temporaryFolder();
    const { id } = startJob(root, extension, { ...request, verb: "adapter merge" });
    await ended(root, id);
    assert.deepEqual((JSON.parse(readJobFile(root, id, "stdout").text) as string[]).slice(0, 2), ["adapter", "merge"]);
  });

  it("wait without a process until they are started under the same name", async () => {
    const root = temporaryFolder();
    const waiting = queueJob(root, request);
    assert.deepEqual([waiting.pid, waiting.queued, isAlive(waiting)], [0, true, false]);
    assert.deepEqual(listJobs(root), [waiting]);
    const started = startJob(root, extensionWith("console.log('{}');"), request, waiting.id);
    await ended(root, waiting.id);
    assert.deepEqual(listJobs(root), [started]);
    assert.equal(started.queued, undefined);
  });

  it("leave how they ended to whoever saw it", async () => {
    const root = temporaryFolder();
    const { id, pid } = startJob(root, extensionWith('console.error("working"); setInterval(() => {}, 1000);'), request);
    for (let i = 0; i < 500 && readJobFile(root, id, "stderr").text === ""; i++) await new Promise((r) => setTimeout(r, 20));
    process.kill(pid, "SIGKILL");
    await ended(root, id);
    for (let i = 0; i < 500 && readEnd(root, id).exit === undefined; i++) await new Promise((r) => setTimeout(r, 20));
    const { exit, lastLine, bootMs = 0 } = readEnd(root, id);
    assert.deepEqual([exit, lastLine], [{ code: null, signal: "SIGKILL" }, "working"]);
    assert.ok(bootMs < Date.now());
  });

  it("are found alive by a reader who did not start them, and end by a signal", async () => {
    const extension = extensionWith(
      `process.on("SIGINT", () => { console.log('{"ok":false,"diagnostics":[{"code":"cancelled"}]}'); process.exit(130); }); setInterval(() => {}, 1000); console.error("ready");`,
    );
    const root = temporaryFolder();
    const { id, pid } = startJob(root, extension, request);
    for (let i = 0; i < 500 && !readJobFile(root, id, "stderr").text.includes("ready"); i++) await new Promise((r) => setTimeout(r, 20));
    const [found] = listJobs(root);
    assert.ok(found !== undefined && isAlive(found));
    assert.equal(isAlive({ ...found, args: ["another run"] }), false, "a process with other arguments is another process");
    process.kill(pid, "SIGINT");
    await ended(root, id);
    assert.equal(outcomeOf(found, false, readJobFile(root, id, "stdout").text).status, "cancelled");
  });

  it("read on from where the last reading ended", () => {
    const root = temporaryFolder();
    mkdirSync(join(root, "x"));
    writeFileSync(join(root, "x", "stderr"), "one\n");
    const first = readJobFile(root, "x", "stderr");
    writeFileSync(join(root, "x", "stderr"), "one\ntwo\n");
    assert.equal(readJobFile(root, "x", "stderr", first.end).text, "two\n");
  });

  it("pass over folders that hold no job, and remove theirs", async () => {
    const root = temporaryFolder();
    mkdirSync(join(root, "junk"));
    const { id } = startJob(root, extensionWith(""), request);
    assert.equal(listJobs(root).length, 1);
    await ended(root, id);
    removeJob(root, id);
    assert.deepEqual(listJobs(root), []);
    assert.deepEqual(listJobs(join(root, "nowhere")), []);
  });
});
