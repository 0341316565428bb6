// WEMoE (Tang et al., ICML 2024, 2402.00433): an MLP whose weights are those of a base plus task vectors, by coefficients that a router works
// out from the MLP's input. The projections are linear, so x (W + sum_t c_t V_t)^T = x W^T + sum_t c_t (x V_t^T): no weights are put
// together per sample. The paper averages the router's output over all tokens of a sample; a decoder may not look ahead, so here each
// position takes the mean over the positions up to itself, and the last one of a prompt the mean over all of it.
import * as tf from "@tensorflow/tfjs-core";
import { inputError } from "../diagnostics.ts";
import { expertName, routerName } from "./expert-names.ts";
import type { Attend, Decoder } from "./llama.ts";

/** The decoder with its routers at work. `onRoute` sees the coefficients [rows, tasks] of every layer. */
export function withExperts(model: Decoder, onRoute?: (layer: number, coefficients: tf.Tensor2D) => void): Decoder {
  const bind = (attend: Attend): Decoder => {
    const { seq } = attend;
    // Single steps of generation do not know the positions before them.
    if (seq === undefined) throw inputError("experts-need-sequence", "a mixture of task vectors runs on whole sequences only");
    let coefficients: tf.Tensor2D | undefined;
    const watch = (name: string, y: tf.Tensor2D, x: tf.Tensor2D | undefined): tf.Tensor2D => {
      const match = /^model\.layers\.(\d+)\.mlp\.(\w+)\.weight$/.exec(name);
      if (match === null || x === undefined) return y;
      const [layer, projection] = [Number(match[1]), match[2] ?? ""];
      if (projection === "gate_proj") {
        coefficients = route(model, model.config.sharedRouter === true ? 0 : layer, x, seq);
        onRoute?.(layer, coefficients);
      }
      const shares = coefficients === undefined ? [] : tf.split(coefficients, model.config.experts ?? 1, 1);
      return shares.reduce<tf.Tensor2D>(
        (sum, share, task) => tf.add(sum, tf.mul(share, tf.matMul(x, weight(model, expertName(layer, task, projection)), false, true))),
        y,
      );
    };
    return { ...model, watch };
  };
  return { ...model, bind };
}

const weight = (model: Decoder, name: string): tf.Tensor2D => model.weights.get(name) as tf.Tensor2D;

/** Two layers with a ReLU between; no softmax, as in the paper. x [batch * seq, hidden] -> [batch * seq, tasks] */
function route(model: Decoder, layer: number, x: tf.Tensor2D, seq: number): tf.Tensor2D {
  const hidden = tf.relu(tf.add(tf.matMul(x, weight(model, routerName(layer, "0.weight")), false, true), weight(model, routerName(layer, "0.bias"))));
  const own: tf.Tensor2D = tf.add(
    tf.matMul(hidden as tf.Tensor2D, weight(model, routerName(layer, "2.weight")), false, true),
    weight(model, routerName(layer, "2.bias")),
  );
  const [rows, tasks] = own.shape;
  return tf.reshape(tf.matMul(tf.tile(meanMatrix(seq), [rows / seq, 1, 1]), tf.reshape(own, [rows / seq, seq, tasks])), [rows, tasks]);
}

/** [1, seq, seq]: row i takes the mean of 0 to i. */
function meanMatrix(seq: number): tf.Tensor3D {
  const values = Float32Array.from({ length: seq * seq }, (_, k) => (k % seq <= Math.floor(k / seq) ? 1 / (Math.floor(k / seq) + 1) : 0));
  return tf.tensor3d(values, [1, seq, seq]);
}
