import assert from "node:assert/strict";
import { setJsonValue } from "../../merge-core/formats/json-edit.ts";

const CONFIG = `{
  "architectures": ["A{", "B\\"}"],
  "rope_theta": 10000.0,
  "n": 1e-05,
  "text_config": {
    "layers": 4
  },
  "tie": true
}
`;

describe("setJsonValue", () => {
  it("replaces a value and nothing else", () => {
    assert.equal(setJsonValue(CONFIG, ["tie"], false), CONFIG.replace("true", "false"));
    assert.equal(setJsonValue(CONFIG, ["n"], 2), CONFIG.replace("1e-05", "2"));
    assert.equal(setJsonValue(CONFIG, ["rope_theta"], "x"), CONFIG.replace("10000.0", '"x"'));
    assert.equal(setJsonValue(CONFIG, ["architectures"], "x"), CONFIG.replace(/\[.*\]/, '"x"'));
  });

  it("reaches into objects", () => {
    assert.equal(setJsonValue(CONFIG, ["text_config", "layers"], 8), CONFIG.replace("4", "8"));
  });

  it("adds what is missing", () => {
    const added = setJsonValue(CONFIG, ["vocab_size"], 5);
    assert.equal(added, CONFIG.replace('"tie": true', '"tie": true,\n  "vocab_size": 5'));
    assert.deepEqual(JSON.parse(setJsonValue(CONFIG, ["a", "b"], 1)), { ...JSON.parse(CONFIG), a: { b: 1 } });
    assert.equal(JSON.parse(setJsonValue(CONFIG, ["text_config", "x"], 1)).text_config.x, 1);
    assert.equal(setJsonValue("{}", ["a"], 1), '{\n  "a": 1\n}');
  });

  it("copes with compact text and every kind of neighbour", () => {
    const compact = JSON.stringify(JSON.parse(CONFIG));
    for (const key of Object.keys(JSON.parse(CONFIG))) {
      assert.deepEqual(JSON.parse(setJsonValue(compact, [key], "new")), { ...JSON.parse(CONFIG), [key]: "new" });
    }
  });
});
