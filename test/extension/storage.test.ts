import assert from "node:assert/strict";
import { commonStorage } from "../../extension/storage.ts";

describe("the storage of a folder", () => {
  it("is the same where the editor gave a place beside it", () => {
    const own = "/data/workspaceStorage/5c2f0a/weightsmith.weightsmith";
    assert.equal(commonStorage(own), own);
    assert.equal(commonStorage("/data/workspaceStorage/5c2f0a-1/weightsmith.weightsmith"), own);
  });

  it("keeps names that begin with a sign or end otherwise", () => {
    for (const id of ["-5c2f0a", "-5", "5c2f-10", "1700000000000"]) assert.equal(commonStorage(`/s/${id}/e`), `/s/${id}/e`);
  });
});
