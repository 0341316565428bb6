// Gradients of fused operations whose inputs are not all trained: each is a function of its own, and tfjs calls only those that lead to
// what gradients are wanted of. A frozen weight costs nothing, nor does the input of the first layer.
import * as tf from "@tensorflow/tfjs-core";

type Thunks = Record<string, () => tf.Tensor>;

const kernel = (name: string, inputs: tf.NamedTensorMap, attrs: tf.NamedAttrMap = {}): tf.Tensor => tf.engine().runKernel(name, inputs, attrs) as tf.Tensor;

/** `gradient` of that of the first result; what comes after it is kept for the way back alone. */
function register(
  kernelName: string,
  inputsToSave: string[],
  outputsToSave: boolean[],
  gradient: (dy: tf.Tensor, saved: tf.Tensor[], attrs: tf.NamedAttrMap) => Thunks,
): void {
  tf.registerGradient({
    kernelName,
    inputsToSave,
    outputsToSave,
    gradFunc: (dys, saved, attrs) => gradient((dys as tf.Tensor[])[0] as tf.Tensor, saved, attrs),
  });
}

export function registerGradients(): void {
  register("FusedRmsNorm", ["x", "weight"], [false, true], (dy, [x, weight, inv]) => ({
    x: () => kernel("FusedRmsNormInputGrad", { x: x!, weight: weight!, inv: inv!, dy }),
    weight: () => kernel("FusedRmsNormWeightGrad", { x: x!, inv: inv!, dy }),
  }));
  register("FusedLayerNorm", ["x", "weight"], [false, true, true], (dy, [x, weight, mean, inv]) => ({
    x: () => kernel("FusedLayerNormInputGrad", { x: x!, weight: weight!, mean: mean!, inv: inv!, dy }),
    weight: () => kernel("FusedLayerNormWeightGrad", { x: x!, mean: mean!, inv: inv!, dy }),
    bias: () => tf.sum(dy, 0),
  }));
  register("FusedLoraLinear", ["x", "weight", "a", "b"], [false, true], (dy, [x, weight, a, b, hidden], { scale }) => {
    const upstream = dy as tf.Tensor2D;
    const dHidden = tf.mul(tf.matMul(upstream, b as tf.Tensor2D), scale as number);
    return {
      x: () => kernel("FusedLoraLinearInputGrad", { dy, weight: weight!, dHidden, a: a! }),
      weight: () => tf.matMul(upstream, x as tf.Tensor2D, true),
      a: () => tf.matMul(dHidden as tf.Tensor2D, x as tf.Tensor2D, true),
      b: () => tf.matMul(upstream, hidden as tf.Tensor2D, true),
    };
  });
}
