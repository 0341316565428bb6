// The experts of a layer stored in one tensor, seen as tensors of their own: expert after expert, gate rows before up rows, as newer
// versions of transformers join the experts of the files that were published one by one.
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { DTYPE_BYTES, elementCount } from "../formats/dtypes.ts";

/** Before the block, the block, the expert, its matrix. */
const APART = /^(.*\.\d+\.)(\w+)\.experts\.(\d+)\.(\w+)\.weight$/;
const JOINED = /^(.*\.\d+\.)(\w+)\.experts\.(gate_up_proj|down_proj)$/;
/** Names of gate, up and down matrices of one expert. */
const MATRICES: readonly (readonly [string, string, string])[] = [
  ["w1", "w3", "w2"],
  ["gate_proj", "up_proj", "down_proj"],
];

interface Names {
  readonly block: string;
  readonly matrices: readonly [string, string, string];
}

/** Whether a model stores its experts one by one. */
export const expertsApart = (model: Checkpoint): boolean => namesOf(model) !== undefined;

function namesOf({ tensors }: Checkpoint): Names | undefined {
  for (const name of tensors.keys()) {
    const [, , block = "", , leaf = ""] = APART.exec(name) ?? [];
    const matrices = MATRICES.find((set) => set.includes(leaf));
    if (matrices !== undefined) return { block, matrices };
  }
  return undefined;
}

/** `model` with its experts one by one under the names of `like`; undefined if they are not joined, or in another way. */
export function splitExperts(model: Checkpoint, like: Checkpoint): Checkpoint | undefined {
  const names = namesOf(like);
  if (names === undefined || ![...model.tensors.keys()].some((name) => JOINED.test(name))) return undefined;
  const tensors = new Map<string, TensorEntry>();
  for (const [name, entry] of model.tensors) {
    const [, before = "", , kind] = JOINED.exec(name) ?? [];
    if (kind === undefined) tensors.set(besideExperts(name, like, names.block), entry);
    else {
      const parts = expertsIn(entry, kind === "down_proj" ? names.matrices.slice(2) : names.matrices.slice(0, 2));
      const path = `${before}${names.block}.experts`;
      for (const { expert, matrix, ...part } of parts) {
        const own = `${path}.${expert}.${matrix}.weight`;
        const { shape } = like.tensors.get(own) ?? {};
        // Another order of dimensions, or an adapter on the whole, is not to be cut here.
        if (entry.lora !== undefined || shape?.join() !== part.shape.join()) return undefined;
        tensors.set(own, { ...entry, ...part, name: own });
      }
    }
  }
  return { ...model, tensors };
}

/** The router stands in the block of the experts, whatever that is called. */
function besideExperts(name: string, like: Checkpoint, block: string): string {
  if (like.tensors.has(name)) return name;
  const renamed = name.replace(/^(.*\.\d+\.)\w+(\.gate\..*)$/, `$1${block}$2`);
  return like.tensors.has(renamed) ? renamed : name;
}

/** The stretches of a tensor [experts, matrices x rows, columns] that hold one matrix of one expert each. */
function expertsIn({ shape, dtype, offset }: TensorEntry, matrices: readonly string[]) {
  const [experts = 0, rows = 0, columns = 0] = shape;
  const own = [rows / matrices.length, columns];
  const byteLength = elementCount(own) * DTYPE_BYTES[dtype];
  return Array.from({ length: experts }, (_, expert) =>
    matrices.map((matrix, i) => ({ expert, matrix, shape: own, offset: offset + (expert * matrices.length + i) * byteLength, byteLength })),
  ).flat();
}
