import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { gramMatrices } from "../../../merge-core/evaluate/statistics/gram.ts";
import { initBackend } from "../../../merge-core/nn/backend.ts";
import type { TokenRow } from "../../../merge-core/nn/data.ts";
import { causalAttend, type Decoder, headLogits, hiddenStates } from "../../../merge-core/nn/llama.ts";
import { createDecoder, disposeDecoder } from "../../../merge-core/nn/load.ts";
import { ropeTable } from "../../../merge-core/nn/rope.ts";
import { TINY_GPT2, tinyConfig, tinyTensors } from "../../helpers/tiny-decoder.ts";

const ROWS: readonly TokenRow[] = [
  { tokens: [1, 5, 9, 4, 4, 2], lossFrom: 3 },
  { tokens: [1, 7, 3], lossFrom: 1 },
  { tokens: [1, 3, 8, 14, 2], lossFrom: 1 },
];

describe("Gram matrices", () => {
  let model: Decoder;
  before(async () => {
    await initBackend({ threads: 1 });
    model = createDecoder(tinyConfig(), tinyTensors(tinyConfig()), "tiny");
  });
  after(() => disposeDecoder(model));

  it("are the mean of x x^T over the tokens that go in, padding left out", async () => {
    const expected = new Map<string, number[]>();
    let tokens = 0;
    for (const row of ROWS) {
      const ids = Int32Array.from(row.tokens.slice(0, -1));
      tokens += ids.length;
      const watch = (name: string, y: tf.Tensor2D, x: tf.Tensor2D | undefined) => {
        if (x === undefined || /norm/.test(name)) return y;
        const width = x.shape[1];
        const sum = expected.get(name) ?? new Array<number>(width * width).fill(0);
        for (const values of x.arraySync())
          for (const [i, a] of values.entries()) for (const [j, b] of values.entries()) sum[i * width + j] = (sum[i * width + j] ?? 0) + a * b;
        expected.set(name, sum);
        return y;
      };
      const seen: Decoder = { ...model, watch };
      tf.tidy(() => headLogits(seen, hiddenStates(seen, ids, causalAttend(model.config, ropeTable(model.config, ids.length), 1, ids.length))));
    }
    const before = tf.memory().numTensors;
    for (const batchSize of [1, 3]) {
      const found = await gramMatrices(model, ROWS, { batchSize });
      assert.equal(found.tokens, tokens);
      assert.deepEqual([...found.grams.keys()].sort(), [...expected.keys()].sort());
      for (const [name, sum] of expected) {
        for (const [i, value] of sum.entries()) {
          const got = found.grams.get(name)?.[i] ?? Number.NaN;
          assert.ok(Math.abs(got - value / tokens) < 1e-5 * Math.max(1, Math.abs(value / tokens)), `${name}[${i}]: ${got}, expected ${value / tokens}`);
        }
      }
    }
    assert.equal(tf.memory().numTensors, before);
  });

  it("of GPT-2 are of the inputs of its layers, biases left out", async () => {
    const config = tinyConfig(TINY_GPT2);
    const gpt2 = createDecoder(config, tinyTensors(config), "tiny");
    const { grams, tokens } = await gramMatrices(gpt2, ROWS);
    const layers = ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"];
    assert.deepEqual([...grams.keys()].sort(), [0, 1].flatMap((i) => layers.map((layer) => `transformer.h.${i}.${layer}.weight`)).sort());
    // What goes into the first projection is the first norm's output.
    const sum = new Array<number>(64).fill(0);
    for (const { tokens: row } of ROWS) {
      const ids = Int32Array.from(row.slice(0, -1));
      const watch = (name: string, y: tf.Tensor2D) => {
        if (name === "transformer.h.0.ln_1.weight")
          for (const values of y.arraySync())
            for (const [i, a] of values.entries()) for (const [j, b] of values.entries()) sum[i * 8 + j] = (sum[i * 8 + j] ?? 0) + (a * b) / tokens;
        return y;
      };
      tf.tidy(() => void hiddenStates({ ...gpt2, watch }, ids, causalAttend(config, ropeTable(config, ids.length), 1, ids.length)));
    }
    for (const [i, value] of sum.entries())
      assert.ok(Math.abs((grams.get("transformer.h.0.attn.c_attn.weight")?.[i] ?? 9) - value) < 1e-5 * Math.max(1, Math.abs(value)));
    disposeDecoder(gpt2);
  });

  it("of layers with one input are the same, and a tied head has none", async () => {
    const { grams } = await gramMatrices(model, ROWS);
    const of = (name: string) => grams.get(`model.layers.1.${name}_proj.weight`);
    assert.ok(of("self_attn.q") !== undefined && of("self_attn.q") === of("self_attn.k") && of("self_attn.k") === of("self_attn.v"));
    assert.equal(of("mlp.gate"), of("mlp.up"));
    assert.notDeepEqual(of("mlp.gate"), of("self_attn.q"));
    assert.ok(grams.has("lm_head.weight"));
    const config = tinyConfig({ tie_word_embeddings: true });
    const tied = createDecoder(config, tinyTensors(config), "tiny");
    assert.deepEqual(
      [...(await gramMatrices(tied, ROWS)).grams.keys()].filter((name) => !/layers/.test(name)),
      [],
    );
    disposeDecoder(tied);
  });
});
