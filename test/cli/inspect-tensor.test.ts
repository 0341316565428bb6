import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { floatTensor, writeModel } from "../helpers/models.ts";

const PROGRAM = fileURLToPath(new URL("./weightsmith.js", import.meta.url));

function inspect(...args: string[]) {
  return spawnSync(process.execPath, [PROGRAM, "inspect", writeModel([floatTensor("model.norm.weight", [3], [1, 2, 3])]), ...args], { encoding: "utf8" });
}

describe("inspect --tensor", () => {
  it("measures one tensor, in text and in JSON", () => {
    assert.match(inspect("--tensor", "model.norm.weight").stdout, /F32 \[3\][\s\S]*mean +2\n/);
    assert.equal(JSON.parse(inspect("--tensor=model.norm.weight", "--json").stdout).finite.max, 3);
  });

  it("names the nearest tensor when there is none of that name", () => {
    const { status, stderr } = inspect("--tensor", "model.nrm.weight");
    assert.equal(status, 2);
    assert.match(stderr, /error\[tensor-missing\].*did you mean model\.norm\.weight\?/);
  });
});
