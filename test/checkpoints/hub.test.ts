// Names on the hub: the cache's layout, downloads that break, are resumed, damaged or refused.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cachedSnapshot, hubCacheFolder, isHubName } from "../../merge-core/checkpoints/hub-cache.ts";
import { downloadModel, wantedFiles } from "../../merge-core/checkpoints/hub-download.ts";
import { encodeSafetensors } from "../../merge-core/formats/safetensors-write.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { COMMIT, type FakeHub, sha256, startHub } from "../helpers/fake-hub.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { floatTensor } from "../helpers/models.ts";

const NAME = "some-org/some.model";
const weights = encodeSafetensors([
  floatTensor(
    "w",
    [50, 1000],
    Float32Array.from({ length: 50_000 }, (_, i) => i),
  ),
]);
const FILES = {
  "config.json": new TextEncoder().encode('{"model_type": "llama"}'),
  "tokenizer.json": new Uint8Array(0),
  "model.safetensors": weights,
  "pytorch_model.bin": new Uint8Array(3),
  "photo.png": new Uint8Array(3),
  "../escape.json": new Uint8Array(3),
  "onnx/model.safetensors": new Uint8Array(3),
};
const WANTED = ["config.json", "model.safetensors", "tokenizer.json"];

/** A model in the cache as the hub's own tools lay it out. */
function cacheModel(cache: string, revision: string, files: Readonly<Record<string, Uint8Array>>): string {
  const repository = join(cache, "models--some-org--some.model");
  const snapshot = join(repository, "snapshots", COMMIT);
  for (const folder of ["blobs", "refs", join("snapshots", COMMIT)]) mkdirSync(join(repository, folder), { recursive: true });
  writeFileSync(join(repository, "refs", revision), COMMIT);
  for (const [name, bytes] of Object.entries(files)) {
    writeFileSync(join(repository, "blobs", sha256(bytes)), bytes);
    symlinkSync(join("..", "..", "blobs", sha256(bytes)), join(snapshot, name));
  }
  return snapshot;
}

const reference = (text: string, revision?: string) => ({
  text,
  path: text,
  ...(revision === undefined ? {} : { revision }),
  range: { line: 0, column: 0, endLine: 0, endColumn: 0, offset: 0, end: 0 },
});

describe("the hub's cache", () => {
  it("is where its own tools have it", () => {
    assert.equal(hubCacheFolder({ HF_HUB_CACHE: "/c", HF_HOME: "/h" }), "/c");
    assert.equal(hubCacheFolder({ HF_HOME: "/h" }), "/h/hub");
    assert.equal(hubCacheFolder({ XDG_CACHE_HOME: "/x" }), "/x/huggingface/hub");
    assert.match(hubCacheFolder({}), /\.cache\/huggingface\/hub$/);
  });

  it("knows names from paths", () => {
    for (const name of ["gpt2", "org/name", "org/na.me-1_2"]) assert.ok(isHubName(name), name);
    for (const path of ["/a/b", "./a", "../a", "a/b/c", "a--b/c", "a/..", "", "a/b.git", "-a/b"]) assert.ok(!isHubName(path), path);
  });

  it("opens models by name, branch and commit, through links", async () => {
    const env = { HF_HUB_CACHE: temporaryFolder() };
    const snapshot = cacheModel(env.HF_HUB_CACHE, "v1", { "model.safetensors": weights });
    for (const revision of ["v1", COMMIT]) {
      const { tensors, folder } = await modelOpener("recipe.yml", { env })(reference(NAME, revision));
      assert.deepEqual([...tensors.keys()], ["w"]);
      assert.equal(folder, snapshot);
    }
    await rejectsWith("model-missing", () => modelOpener("recipe.yml", { env })(reference(NAME)));
  });

  it("does not take half a model for a whole one, nor refs that lead elsewhere", () => {
    const cache = temporaryFolder();
    const snapshot = cacheModel(cache, "main", { "config.json": FILES["config.json"] });
    assert.equal(cachedSnapshot(cache, NAME), undefined);
    const index = { weight_map: { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" } };
    writeFileSync(join(snapshot, "model.safetensors.index.json"), JSON.stringify(index));
    writeFileSync(join(snapshot, "model-00001-of-00002.safetensors"), weights);
    assert.equal(cachedSnapshot(cache, NAME), undefined);
    writeFileSync(join(snapshot, "model-00002-of-00002.safetensors"), weights);
    assert.equal(cachedSnapshot(cache, NAME), snapshot);
    writeFileSync(join(cache, "models--some-org--some.model", "refs", "main"), "../../..");
    assert.equal(cachedSnapshot(cache, NAME), undefined);
    assert.equal(cachedSnapshot(cache, NAME, "../../../refs"), undefined);
  });

  it("says how to get what is missing, and what there is of nearly that name", async () => {
    const env = { HF_HUB_CACHE: temporaryFolder() };
    cacheModel(env.HF_HUB_CACHE, "main", { "model.safetensors": weights });
    const missing = await rejectsWith("model-missing", () => modelOpener("recipe.yml", { env })(reference("other/thing", "v2")));
    assert.match(missing.remedy ?? "", /--download, or first: hf download other\/thing --revision v2/);
    const near = await rejectsWith("model-missing", () => modelOpener("recipe.yml", { env })(reference("some-org/some.modle")));
    assert.match(near.remedy ?? "", /did you mean some-org\/some\.model\?/);
  });
});

describe("a download from the hub", () => {
  let hub: FakeHub;
  beforeEach(async () => {
    hub = await startHub(NAME, FILES);
  });
  afterEach(() => hub.close());

  const request = (cache: string, env = {}) => ({ name: NAME, cache, env: { HF_ENDPOINT: hub.endpoint, ...env }, retryMs: 1 });
  const blobs = (cache: string) => readdirSync(join(cache, "models--some-org--some.model", "blobs"));

  it("takes one tensor format, JSON and tokenizers of the top folder", () => {
    assert.deepEqual(wantedFiles(Object.keys(FILES)).sort(), WANTED);
    assert.deepEqual(wantedFiles(["consolidated.safetensors", "model-00001-of-00001.safetensors"]), ["model-00001-of-00001.safetensors"]);
    assert.deepEqual(wantedFiles(["adapter_model.safetensors", "x.bin", "training_args.bin"]), ["adapter_model.safetensors"]);
    assert.deepEqual(wantedFiles(["pytorch_model.bin", "training_args.bin"]), ["pytorch_model.bin"]);
  });

  it("fills the cache as the hub's tools would, each file under its checksum, and is not repeated", async () => {
    const cache = temporaryFolder();
    const seen: number[] = [];
    const snapshot = await downloadModel({ ...request(cache), onProgress: (_, done, total) => void seen.push(done / total) });
    assert.deepEqual(readdirSync(snapshot).sort(), WANTED);
    assert.deepEqual(new Uint8Array(readFileSync(join(snapshot, "model.safetensors"))), weights);
    assert.ok(lstatSync(join(snapshot, "model.safetensors")).isSymbolicLink());
    assert.equal(realpathSync(join(snapshot, "model.safetensors")), realpathSync(join(cache, "models--some-org--some.model", "blobs", sha256(weights))));
    const blob = createHash("sha1").update(`blob ${FILES["config.json"].length}\0`).update(FILES["config.json"]).digest("hex");
    assert.ok(blobs(cache).includes(blob));
    assert.equal(seen.at(-1), 1);
    assert.equal(cachedSnapshot(cache, NAME), snapshot);
    const before = hub.requests.length;
    await modelOpener("recipe.yml", { env: { HF_HUB_CACHE: cache, HF_ENDPOINT: hub.endpoint }, download: true })(reference(NAME));
    assert.equal(hub.requests.length, before);
  });

  it("goes on where the connection broke, in the same run and in a later one", async () => {
    const cache = temporaryFolder();
    hub.breakAfter = [1000, 70_000];
    await downloadModel(request(cache));
    assert.deepEqual(
      hub.requests.filter((line) => line.startsWith("GET /cdn")),
      ["GET /cdn/model.safetensors", "GET /cdn/model.safetensors bytes=1000-", "GET /cdn/model.safetensors bytes=71000-"],
    );
    const later = temporaryFolder();
    hub.breakAfter = [5000, 0, 0, 0, 0, 0];
    await rejectsWith("download-failed", () => downloadModel(request(later)));
    assert.equal(cachedSnapshot(later, NAME), undefined);
    assert.ok(blobs(later).includes(`${sha256(weights)}.incomplete`));
    hub.requests.length = 0;
    const snapshot = await downloadModel(request(later));
    assert.ok(hub.requests.includes("GET /cdn/model.safetensors bytes=5000-"));
    assert.deepEqual(new Uint8Array(readFileSync(join(snapshot, "model.safetensors"))), weights);
  });

  it("believes no file with another checksum or size, and keeps nothing of it", async () => {
    const wrong = weights.slice();
    wrong[weights.length - 1] = 7;
    for (const bytes of [wrong, new Uint8Array(weights.length + 1)]) {
      const cache = temporaryFolder();
      hub.instead.set("model.safetensors", bytes);
      await rejectsWith("download-damaged", () => downloadModel(request(cache)));
      assert.equal(cachedSnapshot(cache, NAME), undefined);
      assert.ok(!blobs(cache).includes(sha256(weights)));
      hub.instead.clear();
      await downloadModel(request(cache));
    }
  });

  it("says what the hub refuses; a token opens private models", async () => {
    await rejectsWith("hub-not-found", () => downloadModel({ ...request(temporaryFolder()), name: "some-org/nothing" }));
    const gated = await startHub(NAME, FILES, "secret");
    try {
      const env = { HF_ENDPOINT: gated.endpoint };
      const denied = await rejectsWith("hub-access-denied", () => downloadModel({ ...request(temporaryFolder()), env }));
      assert.match(denied.remedy ?? "", /HF_TOKEN/);
      assert.ok(existsSync(await downloadModel({ ...request(temporaryFolder()), env: { ...env, HF_TOKEN: "secret" } })));
    } finally {
      await gated.close();
    }
    await rejectsWith("download-failed", () => downloadModel({ ...request(temporaryFolder()), env: { HF_ENDPOINT: "http://127.0.0.1:9" } }));
  });

  it("stops when cancelled", async () => {
    const controller = new AbortController();
    const cancelled = downloadModel({ ...request(temporaryFolder()), signal: controller.signal, onProgress: () => controller.abort() });
    await rejectsWith("cancelled", () => cancelled);
  });

  it("happens in the program only under --download", async () => {
    const recipe = join(temporaryFolder(), "recipe.yml");
    writeFileSync(recipe, `merge_method: passthrough\nmodels: [{model: ${NAME}@main}]\n`);
    const env = { ...process.env, HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: temporaryFolder() };
    assert.match((await weightsmith(env, "plan", recipe)).err, /error\[model-missing\] .*recipe\.yml:2:18: .*--download/);
    assert.deepEqual(hub.requests, []);
    const out = join(temporaryFolder(), "out");
    const { status, err } = await weightsmith(env, "merge", recipe, out, "--download");
    assert.equal(status, 0, err);
    assert.equal(JSON.parse(readFileSync(join(out, "weightsmith.json"), "utf8")).inputs[0].model, `${NAME}@main`);
  });
});

function weightsmith(env: NodeJS.ProcessEnv, ...args: string[]): Promise<{ status: number | null; err: string }> {
  const child = spawn(process.execPath, [fileURLToPath(new URL("./weightsmith.js", import.meta.url)), ...args], { env });
  let err = "";
  child.stderr.on("data", (chunk) => {
    err += chunk;
  });
  return new Promise((resume) => child.on("close", (status) => resume({ status, err })));
}
