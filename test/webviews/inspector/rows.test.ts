import assert from "node:assert/strict";
import { arrangeRows, DEFAULT_VIEW, type Row, type TableView, type TensorRow } from "../../../webviews/inspector/rows.ts";
import { nextSort } from "../../../webviews/inspector/view.ts";

const tensor = (name: string, role: string, layer: number | undefined, shape: number[], dtype = "F32"): TensorRow => ({
  name,
  dtype,
  shape,
  bytes: 4 * shape.reduce((a, b) => a * b, 1),
  role,
  ...(layer === undefined ? {} : { layer }),
});

const TENSORS = [
  tensor("model.embed.weight", "embedding", undefined, [8, 2]),
  tensor("model.layers.10.mlp.weight", "mlp", 10, [3, 2], "BF16"),
  tensor("model.layers.2.mlp.weight", "mlp", 2, [3, 2]),
  tensor("model.layers.2.norm.weight", "norm", 2, [2]),
];

const arrange = (view: Partial<TableView>) => arrangeRows(TENSORS, { ...DEFAULT_VIEW, ...view });
const titles = (rows: readonly Row[]) =>
  rows.map((row) => (row.kind === "group" ? `# ${row.title} ${row.tensors}` : row.tensor.name.replace("model.", "").replace(".weight", "")));

describe("rows of the tensor table", () => {
  it("keep the order of the file", () => {
    assert.deepEqual(titles(arrange({})), ["embed", "layers.10.mlp", "layers.2.mlp", "layers.2.norm"]);
  });

  it("sort numbers in names as numbers, and sizes as sizes", () => {
    assert.deepEqual(titles(arrange({ sort: "name" })), ["embed", "layers.2.mlp", "layers.2.norm", "layers.10.mlp"]);
    assert.deepEqual(titles(arrange({ sort: "bytes", descending: true }))[0], "embed");
    assert.deepEqual(titles(arrange({ sort: "bytes" }))[0], "layers.2.norm");
  });

  it("filter by parts of names and by facts, all of which must hold", () => {
    assert.deepEqual(titles(arrange({ filter: "MLP" })), ["layers.10.mlp", "layers.2.mlp"]);
    assert.deepEqual(titles(arrange({ filter: "mlp layer:2" })), ["layers.2.mlp"]);
    assert.deepEqual(titles(arrange({ filter: "role:norm" })), ["layers.2.norm"]);
    assert.deepEqual(titles(arrange({ filter: "dtype:bf" })), ["layers.10.mlp"]);
    assert.deepEqual(titles(arrange({ filter: "shape:8" })), ["embed"]);
    assert.deepEqual(titles(arrange({ filter: "shape:8 mlp" })), []);
  });

  it("group by layer in order of number, with what is outside layers first, and fold", () => {
    const grouped = arrange({ group: "layer" });
    assert.deepEqual(titles(grouped), ["# outside layers 1", "embed", "# layer 2 2", "layers.2.mlp", "layers.2.norm", "# layer 10 1", "layers.10.mlp"]);
    assert.deepEqual(titles(arrange({ group: "layer", collapsed: ["layer 2"] })), [
      "# outside layers 1",
      "embed",
      "# layer 2 2",
      "# layer 10 1",
      "layers.10.mlp",
    ]);
    const layer = grouped.find((row) => row.kind === "group" && row.key === "layer 2");
    assert.equal(layer?.kind === "group" && layer.bytes, 32);
  });

  it("sort up, then down, then as in the file", () => {
    const first = { ...DEFAULT_VIEW, ...nextSort(DEFAULT_VIEW, "bytes") };
    const second = { ...first, ...nextSort(first, "bytes") };
    const third = { ...second, ...nextSort(second, "bytes") };
    assert.deepEqual(
      [first, second, third].map(({ sort, descending }) => [sort, descending]),
      [
        ["bytes", false],
        ["bytes", true],
        ["file", false],
      ],
    );
  });

  it("arrange 100 000 tensors in well under a second", () => {
    const many = Array.from({ length: 100_000 }, (_, i) => tensor(`model.layers.${i % 1000}.mlp.${i}`, "mlp", i % 1000, [2, 2]));
    const start = performance.now();
    assert.equal(arrangeRows(many, { ...DEFAULT_VIEW, filter: "layer:7", sort: "name" }).length, 100);
    assert.ok(performance.now() - start < 500, `${performance.now() - start} ms`);
  });
});
