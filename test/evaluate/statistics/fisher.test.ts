import assert from "node:assert/strict";
import * as tf from "@tensorflow/tfjs-core";
import { drawTokens, fisherDiagonal } from "../../../merge-core/evaluate/statistics/fisher.ts";
import { initBackend } from "../../../merge-core/nn/backend.ts";
import { padRows, type TokenRow } from "../../../merge-core/nn/data.ts";
import { type Decoder, forwardLogits, weightedLoss } from "../../../merge-core/nn/llama.ts";
import { createDecoder, disposeDecoder } from "../../../merge-core/nn/load.ts";
import { ropeTable } from "../../../merge-core/nn/rope.ts";
import { TINY_GPT2, tinyConfig, tinyTensors } from "../../helpers/tiny-decoder.ts";

const ROWS: readonly TokenRow[] = [
  { tokens: [1, 5, 9, 4, 4, 2], lossFrom: 3 },
  { tokens: [1, 7, 3], lossFrom: 1 },
  { tokens: [1, 5, 5, 6, 2], lossFrom: 2 },
  { tokens: [1, 11, 12, 13, 5, 2], lossFrom: 5 },
  { tokens: [1, 3, 8, 14, 2], lossFrom: 1 },
];

type Sums = Map<string, Float64Array>;

describe("Fisher information", () => {
  const models: Decoder[] = [];
  const make = (changes: Record<string, unknown>): Decoder => {
    const config = tinyConfig({ attention_bias: true, model_type: "llama", ...changes });
    const model = createDecoder(config, tinyTensors(config), "tiny");
    models.push(model);
    return model;
  };
  before(() => initBackend({ threads: 1 }));
  after(() => models.forEach(disposeDecoder));

  const empty = (model: Decoder): Sums => new Map([...model.weights].map(([name, { size }]) => [name, new Float64Array(size)]));

  /** One backward pass of one row by itself, squared and weighed, with autodiff's own gradients of the weights. */
  function addSquares(model: Decoder, row: TokenRow, weight: number, sums: Sums): void {
    const names = [...model.weights.keys()];
    const table = ropeTable(model.config, row.tokens.length);
    const grads = tf.grads(() => weightedLoss(model, padRows([row], 1), table))([...model.weights.values()]);
    for (const [i, name] of names.entries()) {
      const sum = sums.get(name) as Float64Array;
      for (const [k, g] of (grads[i] as tf.Tensor).dataSync().entries()) sum[k] = (sum[k] as number) + weight * g * g;
    }
    tf.dispose(grads);
  }

  function assertClose(found: ReadonlyMap<string, Float64Array>, expected: Sums, tolerance: number): void {
    assert.deepEqual([...found.keys()], [...expected.keys()]);
    for (const [name, values] of expected) {
      const scale = Math.max(...values);
      assert.ok(scale > 0, `${name} has information`);
      for (const [i, value] of values.entries()) {
        const got = found.get(name)?.[i] ?? Number.NaN;
        assert.ok(Math.abs(got - value) <= tolerance * scale, `${name}[${i}]: ${got}, expected ${value}`);
      }
    }
  }

  for (const [head, changes] of [
    ["a head of its own", { tie_word_embeddings: false }],
    ["a tied head", { tie_word_embeddings: true }],
    ["GPT-2's layers", TINY_GPT2],
    [
      "a mixture of experts",
      { architectures: ["MixtralForCausalLM"], model_type: "mixtral", num_local_experts: 3, num_experts_per_tok: 2, attention_bias: false },
    ],
  ] as const) {
    it(`is the mean of squared gradients of single examples, with ${head}`, async () => {
      const model = make(changes);
      const expected = empty(model);
      for (const row of ROWS) addSquares(model, row, 1 / ROWS.length, expected);
      const tensors = tf.memory().numTensors;
      for (const batchSize of [1, 3, 32]) assertClose(await fisherDiagonal(model, ROWS, { mode: "empirical", batchSize }), expected, 2e-6);
      assert.equal(tf.memory().numTensors, tensors);
    });

    it(`is exactly the expectation over the vocabulary at every position, with ${head}`, async () => {
      const model = make({ ...changes, num_hidden_layers: 1, n_layer: 1, num_local_experts: 2 });
      const rows = ROWS.slice(0, 2);
      const expected = empty(model);
      for (const { tokens, lossFrom } of rows) {
        const logits = forwardLogits(model, Int32Array.from(tokens.slice(0, -1)), 1);
        const p = tf.tidy(() => tf.softmax(logits).arraySync() as number[][]);
        logits.dispose();
        for (let at = lossFrom; at < tokens.length; at++) {
          for (let token = 0; token < model.config.vocabSize; token++)
            addSquares(model, { tokens: [...tokens.slice(0, at), token], lossFrom: at }, (p[at - 1]?.[token] ?? 0) / rows.length, expected);
        }
      }
      assertClose(await fisherDiagonal(model, rows, { mode: "exact", batchSize: 8 }), expected, 5e-6);
    });
  }

  it("tends to the expectation as more labels are drawn", async () => {
    const model = make({ num_hidden_layers: 1 });
    const rows = ROWS.slice(0, 2);
    const exact = await fisherDiagonal(model, rows, { mode: "exact" });
    const distance = async (samples: number) => {
      const drawn = await fisherDiagonal(model, rows, { samples, seed: 4 });
      const sums = [...exact].map(([name, values]) => values.reduce((sum, x, i) => sum + Math.abs(x - (drawn.get(name)?.[i] ?? 0)), 0));
      return sums.reduce((a, b) => a + b) / [...exact.values()].reduce((sum, values) => sum + values.reduce((a, b) => a + b), 0);
    };
    const [few, many] = [await distance(10), await distance(1000)];
    // The error of a mean falls with the root of the draws: a tenth of it is left.
    assert.ok(many < few / 4 && many < 0.12, `${few} with 10 draws, ${many} with 1000`);
  });

  it("draws tokens in proportion to their probability", () => {
    const logits = tf.tensor2d([0, Math.log(3), -1e9, 0, 5, 0], [2, 3]);
    assert.deepEqual([...drawTokens(logits, () => 0.24)], [0, 1]);
    assert.deepEqual([...drawTokens(logits, () => 0.26)], [1, 1]);
    assert.deepEqual([...drawTokens(logits, (row) => (row === 0 ? 0.9999999 : 0.999))], [1, 2]);
    logits.dispose();
  });

  it("depends on the seed, not on how examples are batched", async () => {
    const model = make({});
    const [alone, together, other] = [
      await fisherDiagonal(model, ROWS, { seed: 7, batchSize: 1, samples: 2 }),
      await fisherDiagonal(model, ROWS, { seed: 7, batchSize: 4, samples: 2 }),
      await fisherDiagonal(model, ROWS, { seed: 8, batchSize: 4, samples: 2 }),
    ];
    assertClose(alone, together as Sums, 2e-6);
    assert.throws(() => assertClose(other, together as Sums, 1e-3));
  });

  it("is not the square of a batch's gradient", async () => {
    const model = make({});
    const squaredSum = empty(model);
    const rows = [ROWS[0], ROWS[0]].flatMap((row) => row ?? []);
    addSquares(model, rows[0] as TokenRow, 1, squaredSum);
    assertClose(await fisherDiagonal(model, rows, { mode: "empirical" }), squaredSum, 2e-6);
  });
});
