import assert from "node:assert/strict";
import { flag, list, number, type OptionSpec, parseArguments, parseSize, positionals, text } from "../../merge-core/cli/options.ts";
import { WeightsmithError } from "../../merge-core/diagnostics.ts";

const specs: OptionSpec[] = [
  { name: "json", type: "flag", doc: "" },
  { name: "quiet", type: "flag", short: "q", doc: "" },
  { name: "threads", type: "integer", doc: "" },
  { name: "limit", type: "integer", least: 1, doc: "" },
  { name: "memory", type: "size", doc: "" },
  { name: "data", type: "list", doc: "" },
  { name: "device", type: "string", choices: ["cpu", "gpu"], doc: "" },
];

function failure(argv: string[]): string {
  try {
    parseArguments(argv, specs);
  } catch (error) {
    if (error instanceof WeightsmithError) return error.message;
    throw error;
  }
  return "no error";
}

describe("parseArguments", () => {
  it("reads flags, values in both spellings, lists and positionals", () => {
    const args = parseArguments(["a", "--json", "-q", "--threads=3", "--memory", "512MiB", "--data", "x", "--data=y", "--", "--b"], specs);
    assert.deepEqual(positionals(args, ["first", "second"]), ["a", "--b"]);
    assert.equal(flag(args, "json"), true);
    assert.equal(flag(args, "quiet"), true);
    assert.equal(number(args, "threads"), 3);
    assert.equal(number(args, "memory"), 512 * 2 ** 20);
    assert.deepEqual(list(args, "data"), ["x", "y"]);
    assert.equal(text(args, "device"), undefined);
  });

  it("refuses what it does not know, naming the nearest option", () => {
    assert.match(failure(["--thread", "2"]), /found --thread; did you mean --threads\?/);
  });

  it("refuses missing, malformed and unlisted values", () => {
    assert.match(failure(["--threads"]), /needs a value/);
    assert.match(failure(["--threads", "--json"]), /needs a value/);
    assert.match(failure(["--threads", "1.5"]), /not a whole number; found 1.5/);
    assert.match(failure(["--limit", "0"]), /limit must be at least 1; found 0/);
    assert.match(failure(["--device", "tpu"]), /found tpu, expected cpu, gpu/);
    assert.match(failure(["--json=yes"]), /takes no value; found yes/);
  });

  it("counts positionals", () => {
    assert.throws(() => positionals(parseArguments(["a"], specs), ["one", "two"]), /argument two is missing/);
    assert.throws(() => positionals(parseArguments(["a", "b"], specs), ["one"]), /too many arguments; found b/);
  });
});

describe("parseSize", () => {
  it("knows binary and decimal units", () => {
    assert.equal(parseSize("4GiB", "x"), 4 * 2 ** 30);
    assert.equal(parseSize("1.5 kb", "x"), 1500);
    assert.equal(parseSize("1000", "x"), 1000);
  });
  it("refuses the rest", () => {
    for (const bad of ["", "GB", "-1GB", "5 parsecs", "0", "1e999"]) assert.throws(() => parseSize(bad, "--memory"), /--memory is not a size/);
  });
});
