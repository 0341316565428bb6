import assert from "node:assert/strict";
import { type ScoreDirections, scoreDirections } from "../../../merge-core/evaluate/statistics/score-directions.ts";
import { testRandom } from "../../helpers/tiny-decoder.ts";

describe("directions of scores", () => {
  const random = testRandom(3);
  const draw = (length: number): Float32Array => Float32Array.from({ length }, random);
  const softmax = (scores: Float32Array): Float32Array => {
    const powers = scores.map((x) => Math.exp(6 * x));
    return powers.map((x) => x / powers.reduce((a, b) => a + b));
  };
  const vectorsOf = ({ count, write }: ScoreDirections, tokens: number): Float32Array[] =>
    Array.from({ length: count }, (_, k) => {
      const vector = new Float32Array(tokens);
      write(k, vector);
      return vector;
    });
  /** (W^T x)_i */
  const seen = (head: Float32Array, x: Float32Array, i: number): number =>
    x.reduce((sum, value, y) => sum + value * (head[y * (head.length / x.length) + i] as number), 0);

  for (const [tokens, width, mostNumbers] of [
    [23, 6, undefined],
    [23, 6, 100],
    [5, 9, undefined],
  ] as const)
    it(`add up to the covariance, ${tokens} tokens, width ${width}${mostNumbers ? ", one each" : ""}`, () => {
      const [p, head] = [softmax(draw(tokens)), draw(tokens * width)];
      const directions = scoreDirections(p, head, mostNumbers);
      assert.equal(directions.count, mostNumbers === undefined ? Math.min(width, tokens - 1) : tokens);
      const vectors = vectorsOf(directions, tokens);
      for (let j = 0; j < tokens; j++) {
        const squares = vectors.reduce((sum, c) => sum + (c[j] as number) ** 2, directions.rest[j] as number);
        assert.ok(Math.abs(squares - (p[j] as number) * (1 - (p[j] as number))) < 1e-7, `token ${j}`);
      }
      const byToken = Array.from({ length: tokens }, (_, y) => p.map((chance, j) => Math.sqrt(p[y] as number) * (Number(j === y) - chance)));
      for (let i = 0; i < width; i++)
        for (let k = 0; k < width; k++) {
          const [found, expected] = [vectors, byToken].map((all) => all.reduce((sum, c) => sum + seen(head, c, i) * seen(head, c, k), 0));
          assert.ok(Math.abs((found as number) - (expected as number)) < 1e-6, `elements ${i} and ${k}`);
        }
    });

  it("are none where the model is sure", () => {
    const { count, rest } = scoreDirections(Float32Array.of(0, 1, 0), draw(6));
    assert.equal(count, 0);
    assert.deepEqual([...rest], [0, 0, 0]);
  });
});
