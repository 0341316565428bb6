import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { defaultCacheFolder, findCachedModels, groupModels } from "../../../extension/models/find-models.ts";
import { temporaryFolder } from "../../helpers/folders.ts";

describe("finding models", () => {
  it("takes a folder with an index, a model.safetensors or one tensor file as one model", () => {
    const found = groupModels([
      "/w/a/model-00001-of-00002.safetensors",
      "/w/a/model-00002-of-00002.safetensors",
      "/w/a/model.safetensors.index.json",
      "/w/b/model.safetensors",
      "/w/c/only.safetensors",
    ]);
    assert.deepEqual(found, [
      { path: "/w/a", file: "/w/a/model.safetensors.index.json", name: "a" },
      { path: "/w/b", file: "/w/b/model.safetensors", name: "b" },
      { path: "/w/c", file: "/w/c/only.safetensors", name: "c" },
    ]);
  });

  it("takes several loose files as a model each", () => {
    assert.deepEqual(
      groupModels(["/w/y.safetensors", "/w/x.safetensors"]).map(({ path, name }) => [path, name]),
      [
        ["/w/x.safetensors", "x.safetensors"],
        ["/w/y.safetensors", "y.safetensors"],
      ],
    );
  });

  it("passes over statistics that lie beside their model", () => {
    const found = groupModels(["/w/a/model.safetensors", "/w/a.fisher.safetensors", "/w/a.gram.safetensors", "/w/notes.txt"]);
    assert.deepEqual(
      found.map(({ path }) => path),
      ["/w/a"],
    );
  });

  it("names models of a Hugging Face cache as the hub does, and finds none where there is no cache", async () => {
    const cache = temporaryFolder();
    const snapshot = join(cache, "models--org--tiny-llama", "snapshots", "abc");
    mkdirSync(snapshot, { recursive: true });
    writeFileSync(join(snapshot, "model.safetensors"), "");
    mkdirSync(join(cache, "datasets--org--text", "snapshots", "abc"), { recursive: true });
    assert.deepEqual(await findCachedModels(cache), [{ path: snapshot, file: join(snapshot, "model.safetensors"), name: "org/tiny-llama" }]);
    assert.deepEqual(await findCachedModels(join(cache, "nowhere")), []);
  });

  it("looks where the Hugging Face tools put their cache", () => {
    assert.equal(defaultCacheFolder({ HF_HUB_CACHE: "/c" }), "/c");
    assert.equal(defaultCacheFolder({ HF_HOME: "/h" }), join("/h", "hub"));
    assert.equal(defaultCacheFolder({ XDG_CACHE_HOME: "/x" }), join("/x", "huggingface", "hub"));
  });
});
