// Gradient checkpointing (Chen et al. 2016, 1604.06174): of a block only the input is held; what its gradient needs is computed once more on the way back.
import * as tf from "@tensorflow/tfjs-core";

/**
 * What `block` makes of x. It must make the same again when it is called again.
 * @param parameters what the block depends on and gradients are wanted of, beside x
 */
export function recomputed(block: (x: tf.Tensor2D) => tf.Tensor2D, x: tf.Tensor2D, parameters: readonly tf.Tensor[]): tf.Tensor2D {
  const custom = tf.customGrad((...args) => {
    const [input, save] = [args[0] as tf.Tensor2D, args.at(-1) as unknown as tf.GradSaveFunc];
    save([input]);
    return { value: block(input), gradFunc: (dy: tf.Tensor, [kept]: tf.Tensor[]) => gradientsOf(block, kept as tf.Tensor2D, parameters, dy) };
  });
  return custom(x, ...parameters) as tf.Tensor2D;
}

function gradientsOf(block: (x: tf.Tensor2D) => tf.Tensor2D, x: tf.Tensor2D, parameters: readonly tf.Tensor[], dy: tf.Tensor): tf.Tensor[] {
  const { state } = tf.engine();
  // The inner pass has a tape of its own; the outer one is still being walked back.
  const tape = state.activeTape;
  const wanted = [x, ...parameters];
  const { value, grads } = tf.engine().gradients(() => block(x), wanted, dy, true);
  state.activeTape = tape;
  value.dispose();
  return grads.map((gradient, i) => gradient ?? tf.zerosLike(wanted[i] as tf.Tensor));
}

/** The parameters that a layer may depend on: its own, and those that belong to no layer. */
export const parametersOfLayer = (parameters: ReadonlyMap<string, tf.Tensor>, layer: number): tf.Tensor[] =>
  [...parameters].filter(([name]) => (LAYER.test(name) ? LAYER.exec(name)?.[1] === String(layer) : !OUTSIDE.test(name))).map(([, tensor]) => tensor);

const LAYER = /(?:^|\.)(?:layers|h)\.(\d+)\./;
const OUTSIDE = /embed_tokens|lm_head|^model\.norm\.|\.(?:wte|wpe|ln_f)\./;
