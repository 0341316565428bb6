import assert from "node:assert/strict";
import { formatShardIndex, parseShardIndex } from "../../merge-core/formats/shard-index.ts";
import { rejectsWith } from "../helpers/diagnostics.ts";
import { hostileIndexes } from "../helpers/hostile.ts";

describe("shard index", () => {
  for (const { what, code, bytes } of hostileIndexes) {
    it(`refuses ${what}: ${code}`, () => rejectsWith(code, () => parseShardIndex(bytes, "model.safetensors.index.json")));
  }

  it("round-trips", () => {
    const map = new Map([
      ["b", "model-00002-of-00002.safetensors"],
      ["a", "model-00001-of-00002.safetensors"],
    ]);
    const text = formatShardIndex(map, 24, 12);
    const index = parseShardIndex(new TextEncoder().encode(text), "index");
    assert.deepEqual(index.weightMap, new Map([...map].reverse()));
    assert.deepEqual(index.files, ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
    assert.deepEqual(JSON.parse(text).metadata, { total_parameters: 12, total_size: 24 });
  });
});
