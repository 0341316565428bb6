// One thread's view of the kernels: its own instance (module globals are per thread) on the memory all threads share.
import bytes from "../../dist/kernels.wasm";
import type { Kernel, MakeKernels } from "./kernel-memory.ts";
import { lineKernels } from "./line-kernels.ts";

export { bytesOf, type Kernel, type MakeKernels } from "./kernel-memory.ts";

/** What a job or a kernel call runs on. Never keep a typed array over `memory.buffer`: another thread may grow it. */
export interface ComputeContext {
  readonly memory: WebAssembly.Memory;
  /** Looks up an export of the WASM module. @throws TypeError for a name that is none. */
  readonly kernel: (name: string) => Kernel;
  /** Of all kernels, in an order that is the same in every thread. */
  readonly names: readonly string[];
  /** The function of a generated module. */
  readonly specialised: (code: GeneratedCode) => Kernel;
}

/** A compiled formula, under a number by which a thread knows it again. */
export interface GeneratedCode {
  readonly id: number;
  readonly module: WebAssembly.Module;
}

export const PAGE_BYTES = 65536;
/** WASM addresses are 32 bits wide. */
export const MAX_PAGES = 65536;

let compiled: WebAssembly.Module | undefined;

/** Compiled once per process; workers are handed the module. */
export function kernelModule(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(bytes);
  return compiled;
}

/** @param makeMore kernels that are no WASM, made of those that are; every thread of a pool has the same */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory, makeMore: MakeKernels = () => ({})): ComputeContext {
  const { exports } = new WebAssembly.Instance(module, { env: { memory, abort: trap } });
  const own = WebAssembly.Module.exports(module)
    .filter((e) => e.kind === "function")
    .map((e) => e.name);
  const ownKernel = (name: string): Kernel => {
    const found = exports[name];
    if (typeof found !== "function") throw new TypeError(`no kernel is called ${name}`);
    return found as Kernel;
  };
  const wasm = { memory, kernel: ownKernel };
  const more = { ...lineKernels(wasm), ...makeMore(wasm) };
  const kernel = (name: string): Kernel => more[name] ?? ownKernel(name);
  return { memory, kernel, names: [...own, ...Object.keys(more)], specialised: specialiser(exports, memory) };
}

/** More formulas than this at a time and the oldest are forgotten; a merge uses a handful. */
const MAX_INSTANCES = 64;

/** Instantiates generated code on the kernels it calls, once. */
function specialiser(kernels: WebAssembly.Exports, memory: WebAssembly.Memory): (code: GeneratedCode) => Kernel {
  const known = new Map<number, Kernel>();
  return ({ id, module }) => {
    const found = known.get(id);
    if (found !== undefined) return found;
    const run = new WebAssembly.Instance(module, { env: { ...kernels, memory } }).exports.run as Kernel;
    if (known.size >= MAX_INSTANCES) known.delete(known.keys().next().value ?? id);
    known.set(id, run);
    return run;
  };
}

/** AssemblyScript's own checks end here; without assertions only its library's allocation failures do. */
function trap(): never {
  throw new RangeError("a kernel stopped itself");
}
