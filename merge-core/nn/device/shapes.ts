// Shapes that follow from those of the inputs, so that nobody has to wait for the device to tell them. What is not here is waited for.
import * as tf from "@tensorflow/tfjs-core";

type Attributes = Readonly<Record<string, unknown>>;
type ShapeRule = (inputs: readonly tf.TensorInfo[], attrs: Attributes) => number[] | undefined;

const UNARY = ["Abs", "Cos", "Exp", "Log", "LogSoftmax", "Neg", "Relu", "Rsqrt", "Sigmoid", "Sin", "Softmax", "Sqrt", "Square", "Step", "Tanh", "ZerosLike"];
const BINARY = ["Add", "Maximum", "Minimum", "Multiply", "Pow", "RealDiv", "SquaredDifference", "Sub"];

const RULES = new Map<string, ShapeRule>([
  ...UNARY.map((name): [string, ShapeRule] => [name, ([x]) => x?.shape]),
  ...BINARY.map((name): [string, ShapeRule] => [name, ([a, b]) => a && b && tf.broadcast_util.assertAndGetBroadcastShape(a.shape, b.shape)]),
  ["Sum", ([x], { axis, keepDims }) => x && reduced(x.shape, axis, keepDims)],
  ["Mean", ([x], { axis, keepDims }) => x && reduced(x.shape, axis, keepDims)],
  ["Max", ([x], { reductionIndices, keepDims }) => x && reduced(x.shape, reductionIndices, keepDims)],
  ["Transpose", ([x], { perm }) => x && (perm as number[]).map((axis) => x.shape[axis] as number)],
  ["BatchMatMul", product],
]);

/** The shape of an operation's one result, of float32 inputs; undefined if it must be asked for. */
export function expectedShape(kernel: string, inputs: readonly tf.TensorInfo[], attrs: Attributes): number[] | undefined {
  return inputs.every(({ dtype }) => dtype === "float32") ? RULES.get(kernel)?.(inputs, attrs) : undefined;
}

function reduced(shape: readonly number[], axis: unknown, keepDims: unknown): number[] {
  const axes = tf.util.parseAxisParam((axis ?? shape.map((_, i) => i)) as number | number[], [...shape]);
  return keepDims === true ? shape.map((size, i) => (axes.includes(i) ? 1 : size)) : shape.filter((_, i) => !axes.includes(i));
}

function product([a, b]: readonly tf.TensorInfo[], { transposeA, transposeB }: Attributes): number[] | undefined {
  if (a === undefined || b === undefined) return undefined;
  const outer = tf.broadcast_util.assertAndGetBroadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  return [...outer, a.shape.at(transposeA === true ? -1 : -2) ?? 1, b.shape.at(transposeB === true ? -2 : -1) ?? 1];
}
