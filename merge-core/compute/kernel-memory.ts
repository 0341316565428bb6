// Kernels and the memory that they share, without the module that holds them.

export type Kernel = (...args: number[]) => number;

/** Kernels that are no WASM, of those that are. */
export type MakeKernels = (wasm: { readonly memory: WebAssembly.Memory; readonly kernel: (name: string) => Kernel }) => Readonly<Record<string, Kernel>>;

/**
 * The memory's bytes, at least up to `end`. Growth by another thread shows late in this one's `buffer` unless asked for:
 * growing by nothing asks.
 */
export function bytesOf(memory: WebAssembly.Memory, end = 0): Uint8Array {
  if (memory.buffer.byteLength < end) memory.grow(0);
  return new Uint8Array(memory.buffer);
}
