// Kernels that call the machine's BLAS. Each thread of a pool has them beside those of the WASM module and calls the library for its own
// parts: the library's own threads would wait for each other in loops, on the cores where our kernels run in turn with it.
import { bytesOf, type Kernel, type MakeKernels } from "../instance.ts";
import type { Blas } from "./blas.ts";

/** Query rows that attention handles at once, as in compute/kernels/nn: its scratch has room for as many. */
export const ATTENTION_ROWS = 64;

/** A matrix row by row, `step` elements from one row to the next; or its transpose. */
interface Placed {
  readonly address: number;
  readonly step: number;
  readonly turned?: boolean;
}

type Multiply = (rows: number, columns: number, depth: number, a: Placed, b: Placed, c: Placed & { readonly accumulate?: boolean }) => void;

export const blasKernels =
  (blas: Blas): MakeKernels =>
  ({ memory, kernel }) => {
    // The library is told where matrices begin; how long they are follows from the sizes.
    const at = (address: number): Float32Array => new Float32Array(bytesOf(memory, address + 4).buffer, address, 1);
    const multiply: Multiply = (rows, columns, depth, a, b, c) => {
      const factors = { a: at(a.address), transposeA: a.turned === true, b: at(b.address), transposeB: b.turned === true };
      const steps = { a: a.step, b: b.step, c: c.step };
      blas.sgemm({ rows, columns, depth, ...factors, c: at(c.address), accumulate: c.accumulate === true, steps });
    };
    const blasGemm: Kernel = (rows = 0, columns = 0, depth = 0, a = 0, stepA = 0, turnA = 0, b = 0, stepB = 0, turnB = 0, c = 0, stepC = 0, accumulate = 0) => {
      const [left, right] = [
        { address: a, step: stepA, turned: turnA === 1 },
        { address: b, step: stepB, turned: turnB === 1 },
      ];
      multiply(rows, columns, depth, left, right, { address: c, step: stepC, accumulate: accumulate === 1 });
      return 0;
    };
    return { blasGemm, blasAttentionForward: attentionForward(multiply, kernel), blasAttentionBackward: attentionBackward(multiply, kernel) };
  };

/** `attentionForward` of compute/kernels/nn, its products by the library. */
function attentionForward(multiply: Multiply, kernel: (name: string) => Kernel): Kernel {
  const softmax = kernel("maskedSoftmaxRows");
  return (batch = 0, kvHead = 0, seq = 0, keys = 0, heads = 0, kvHeads = 0, dim = 0, window = 0, scale = 0, q = 0, k = 0, v = 0, out = 0, p = 0) => {
    const [group, qStep, kStep, first] = [heads / kvHeads, heads * dim, kvHeads * dim, (batch * keys * kvHeads + kvHead) * dim * 4];
    for (let h = kvHead * group; h < (kvHead + 1) * group; h++)
      for (let t0 = 0; t0 < seq; t0 += ATTENTION_ROWS) {
        const t1 = Math.min(seq, t0 + ATTENTION_ROWS);
        const seen = t1 + keys - seq;
        const head = ((batch * seq + t0) * heads + h) * dim * 4;
        const scores = p + (batch * heads + h) * seq * keys * 4;
        const block = { address: scores + t0 * keys * 4, step: keys };
        multiply(t1 - t0, seen, dim, { address: q + head, step: qStep }, { address: k + first, step: kStep, turned: true }, block);
        softmax(scores, t0, t1, seq, keys, window, scale);
        multiply(t1 - t0, dim, seen, block, { address: v + first, step: kStep }, { address: out + head, step: qStep });
      }
    return 0;
  };
}

/** `attentionBackward` of compute/kernels/nn, its products by the library. */
function attentionBackward(multiply: Multiply, kernel: (name: string) => Kernel): Kernel {
  const gradient = kernel("softmaxGradientRows");
  return (
    batch = 0,
    kvHead = 0,
    seq = 0,
    keys = 0,
    heads = 0,
    kvHeads = 0,
    dim = 0,
    scale = 0,
    q = 0,
    k = 0,
    v = 0,
    p = 0,
    dOut = 0,
    dq = 0,
    dk = 0,
    dv = 0,
    scratch = 0,
  ) => {
    const [group, qStep, kStep, first] = [heads / kvHeads, heads * dim, kvHeads * dim, (batch * keys * kvHeads + kvHead) * dim * 4];
    const count = Math.ceil(seq / ATTENTION_ROWS);
    // From the last block, which sees every key: the first product sets what the others add to.
    const starts = Array.from({ length: count }, (_, i) => (count - 1 - i) * ATTENTION_ROWS);
    const blocks = starts.flatMap((t0) => Array.from({ length: group }, (_, i) => ({ t0, h: kvHead * group + i })));
    for (const [n, { t0, h }] of blocks.entries()) {
      const rows = Math.min(ATTENTION_ROWS, seq - t0);
      const seen = t0 + rows + keys - seq;
      const head = ((batch * seq + t0) * heads + h) * dim * 4;
      const [dBlock, scores] = [
        { address: dOut + head, step: qStep },
        { address: scratch, step: keys },
      ];
      const probabilities = { address: p + ((batch * heads + h) * seq + t0) * keys * 4, step: keys };
      const sum = (address: number) => ({ address: address + first, step: kStep, accumulate: n > 0 });
      multiply(seen, dim, rows, { ...probabilities, turned: true }, dBlock, sum(dv));
      multiply(rows, seen, dim, dBlock, { address: v + first, step: kStep, turned: true }, scores);
      gradient(probabilities.address, scratch, rows, keys, seen, scale);
      multiply(rows, dim, seen, scores, { address: k + first, step: kStep }, { address: dq + head, step: qStep });
      multiply(seen, dim, rows, { ...scores, turned: true }, { address: q + head, step: qStep }, sum(dk));
    }
    return 0;
  };
}
