import assert from "node:assert/strict";
import { realpathSync } from "node:fs";
import { join } from "node:path";
import { findPackage, importPackage, PACKAGES_VARIABLE, packagePlaces } from "../../../merge-core/compute/providers/find-package.ts";
import { temporaryFolder } from "../../helpers/folders.ts";
import { packageFolder } from "../../helpers/tfjs-packages.ts";

const NAME = "weightsmith-test-package";
const fileIn = (folder: string) => join(realpathSync(folder), "node_modules", NAME, "index.js");

describe("findPackage", () => {
  it("takes the first place that has the package, and folders above a place", () => {
    const [first, second] = [packageFolder(NAME, ""), packageFolder(NAME, "")];
    assert.equal(findPackage(NAME, [temporaryFolder(), second, first]), fileIn(second));
    assert.equal(findPackage(NAME, [join(first, "some", "project")]), fileIn(first));
  });

  it("looks into NODE_PATH last", () => {
    const [named, other] = [packageFolder(NAME, ""), packageFolder(NAME, "")];
    const env = { NODE_PATH: ["/no/such/folder", join(named, "node_modules")].join(process.platform === "win32" ? ";" : ":") };
    assert.equal(findPackage(NAME, [], env), fileIn(named));
    assert.equal(findPackage(NAME, [other], env), fileIn(other));
  });

  it("looks into the folder that a variable names first, then beside the program, here, and in the user's own", () => {
    const places = packagePlaces({ [PACKAGES_VARIABLE]: "/named" });
    assert.equal(places[0], "/named");
    assert.ok(places.indexOf(process.cwd()) > 0);
    assert.ok(places.some((place) => place.endsWith(".weightsmith")));
    assert.ok(!packagePlaces({}).includes("/named"));
  });

  it("says which package is not installed", async () => {
    assert.equal(findPackage(NAME, [temporaryFolder()], {}), undefined);
    await assert.rejects(importPackage(NAME, [temporaryFolder()]), /the package weightsmith-test-package is not installed/);
  });
});
