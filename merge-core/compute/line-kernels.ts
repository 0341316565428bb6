// The divergence of rows as threads run it: the very code of lines.ts on their shared memory. Apart from it, since that one is also part
// of what an editor loads, which holds no WASM.
import { bytesOf, type Kernel, type MakeKernels } from "./kernel-memory.ts";
import { divergence } from "./lines.ts";

/** Kernels that are this code. */
export const lineKernels: MakeKernels = ({ memory }) => {
  /** Divergences of the rows [from, to) of two matrices, as float64 to `out`. */
  const rowDivergences: Kernel = (a = 0, b = 0, columns = 0, from = 0, to = 0, out = 0) => {
    // Another thread may have grown the memory.
    const { buffer } = bytesOf(memory, Math.max(a + to * columns * 4, b + to * columns * 4, out + to * 8));
    const row = (address: number, at: number): Float32Array => new Float32Array(buffer, address + at * columns * 4, columns);
    const results = new Float64Array(buffer, out, to);
    for (let at = from; at < to; at++) results[at] = divergence(row(a, at), row(b, at));
    return 0;
  };
  return { rowDivergences };
};
