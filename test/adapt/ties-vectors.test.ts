import assert from "node:assert/strict";
import type { TaskVectors } from "../../merge-core/adapt/task-vectors.ts";
import { tiesVectors } from "../../merge-core/adapt/ties-vectors.ts";

describe("the task vectors of AdaMerging++", () => {
  it("are trimmed over all tensors together and lose what goes against the elected sign", () => {
    // The vectors T1 and T2 of the TIES paper's rule at one half, in two tensors: T1 keeps .5 -.4 .3 -.2, T2 -.3 -.6 .2 .25.
    const split = (values: number[]) => [Float32Array.from(values.slice(0, 3)), Float32Array.from(values.slice(3))];
    const none = split([0, 0, 0, 0, 0, 0, 0, 0]);
    const given = [split([0.5, -0.4, 0.1, -0.05, 0.3, -0.2, 0.02, 0]), split([-0.3, -0.6, 0.2, 0.04, 0.1, 0.25, -0.01, 0.07])];
    const { vectors } = tiesVectors({ tasks: ["a", "b"], names: ["x", "y"], origin: none, vectors: given } as unknown as TaskVectors, 0.5);
    // Elected: + - + . + + . .
    assert.deepEqual(vectors, [split([0.5, -0.4, 0, 0, 0.3, 0, 0, 0]), split([0, -0.6, 0.2, 0, 0, 0.25, 0, 0])]);
  });
});
