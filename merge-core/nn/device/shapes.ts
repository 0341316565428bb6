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
  ["Pack", packed],
]);

/** The shapes of an operation's results, of float32 inputs; undefined if they must be asked for. */
export function expectedShapes(kernel: string, inputs: readonly tf.TensorInfo[], attrs: Attributes): number[][] | undefined {
  if (!inputs.every(({ dtype }) => dtype === "float32")) return undefined;
  if (kernel === "Unpack") return unpacked(inputs, attrs);
  const shape = RULES.get(kernel)?.(inputs, attrs);
  return shape && [shape];
}

function packed(parts: readonly tf.TensorInfo[], { axis }: Attributes): number[] | undefined {
  const [x] = parts;
  if (x === undefined) return undefined;
  const at = (axis as number) < 0 ? (axis as number) + x.shape.length + 1 : (axis as number);
  return [...x.shape.slice(0, at), parts.length, ...x.shape.slice(at)];
}

function unpacked([x]: readonly tf.TensorInfo[], { axis }: Attributes): number[][] | undefined {
  if (x === undefined) return undefined;
  const [at] = tf.util.parseAxisParam(axis as number, x.shape) as [number];
  return Array.from({ length: x.shape[at] ?? 0 }, () => x.shape.filter((_, i) => i !== at));
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
