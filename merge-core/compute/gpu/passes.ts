// One pass over a tensor's elements on a GPU: chunks go through mapped staging buffers, so that reading and uploading one, computing
// another and bringing back a third go on at the same time. Gathers what runPass (compute/passes.ts) gathers.
import { writeFully } from "../files.ts";
import { BLOCK } from "../reference.ts";
import { fetchBytes, type PlainStore, type TileStore } from "../row-gather.ts";
import { attempt, type Gpu, GpuFailure, gridOf, MAP, scoped, USAGE } from "./device.ts";
import { GROUP_ELEMENTS } from "./wgsl.ts";
import { type Chunk, GROUPS_PER_BLOCK, type WgslProgram } from "./wgsl-program.ts";

export interface GpuPass {
  readonly program: WgslProgram;
  /** Those that the program reads, in its order. */
  readonly inputs: readonly { readonly elementBytes: number; readonly store: TileStore }[];
  /** A multiple of 4096. */
  readonly first: number;
  readonly end: number;
  readonly output?: { readonly elementBytes: number; readonly store: PlainStore } | undefined;
  /** Elements at a time, a multiple of 4096; by default as many as make a good upload. */
  readonly chunk?: number | undefined;
}

export interface GpuPassResult {
  readonly nonFinite: number;
  /** By sink: results of blocks of 4096 elements of a reduction, counts of a histogram; nothing for others. */
  readonly gathered: ReadonlyMap<number, Float64Array>;
}

const UPLOAD_BYTES = 16 * 2 ** 20;
/** Chunks under way. */
const SLOTS = 3;

/** @throws GpuFailure, with the output in any state; WeightsmithError for input and output errors */
export async function runGpuPass(gpu: Gpu, pass: GpuPass): Promise<GpuPassResult> {
  const runner = new PassRunner(gpu, pass);
  try {
    return await runner.run();
  } finally {
    runner.free();
  }
}

/** The buffers that one chunk needs. */
interface Slot {
  readonly upload: GPUBuffer;
  readonly src: GPUBuffer;
  readonly params: GPUBuffer;
  readonly dst: GPUBuffer;
  readonly partial: GPUBuffer;
  readonly download: GPUBuffer;
  readonly bindings: GPUBindGroup;
  /** Settles when the chunk before in this slot is done with. */
  done: Promise<void>;
}

const words = (bytes: number): number => Math.max(4, Math.ceil(bytes / 4) * 4);

class PassRunner {
  readonly #gpu: Gpu;
  readonly #pass: GpuPass;
  readonly #chunk: number;
  readonly #buffers: GPUBuffer[] = [];
  readonly #gathered = new Map<number, Float64Array>();

  constructor(gpu: Gpu, pass: GpuPass) {
    this.#gpu = gpu;
    this.#pass = pass;
    const widest = pass.inputs.reduce((sum, { elementBytes }) => sum + elementBytes, pass.output?.elementBytes ?? 0) || 4;
    const fitting = Math.floor(Math.min(UPLOAD_BYTES, gpu.maxBytes) / widest / BLOCK) * BLOCK;
    this.#chunk = Math.max(BLOCK, Math.min(pass.chunk ?? fitting, Math.ceil((pass.end - pass.first) / BLOCK) * BLOCK));
    const blocks = Math.ceil((pass.end - pass.first) / BLOCK);
    for (const sink of pass.program.partials.keys()) this.#gathered.set(sink, new Float64Array(blocks));
  }

  async run(): Promise<GpuPassResult> {
    const { first, end, program } = this.#pass;
    const { pipeline, table, slots } = await scoped(this.#gpu, () => this.#prepare());
    try {
      let number = 0;
      for (let start = first; start < end; start += this.#chunk) {
        const slot = slots[number++ % SLOTS] as Slot;
        await slot.done;
        await this.#start(pipeline, slot, start, Math.min(this.#chunk, end - start));
      }
      await Promise.all(slots.map((slot) => slot.done));
    } finally {
      await Promise.allSettled(slots.map((slot) => slot.done));
    }
    const counts = await this.#readTable(table);
    for (const [sink, { at, words: length }] of program.tables) this.#gathered.set(sink, Float64Array.from(counts.subarray(at, at + length)));
    return { nonFinite: counts[0] ?? 0, gathered: this.#gathered };
  }

  free(): void {
    for (const buffer of this.#buffers) buffer.destroy();
  }

  #buffer(bytes: number, usage: number): GPUBuffer {
    const buffer = this.#gpu.device.createBuffer({ size: words(bytes), usage });
    this.#buffers.push(buffer);
    return buffer;
  }

  #prepare(): { pipeline: GPUComputePipeline; table: GPUBuffer; slots: Slot[] } {
    const { device } = this.#gpu;
    const { code, tableWords } = this.#pass.program;
    const layout = device.createBindGroupLayout({
      entries: (["read-only-storage", "read-only-storage", "storage", "storage", "storage"] as const).map((type, binding) => ({
        ...{ binding, visibility: 4, buffer: { type } },
      })),
    });
    const module = device.createShaderModule({ code });
    const pipeline = device.createComputePipeline({ layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }), compute: { module } });
    const table = this.#buffer(tableWords * 4, USAGE.storage | USAGE.copyFrom);
    const slots = Array.from({ length: Math.min(SLOTS, Math.ceil((this.#pass.end - this.#pass.first) / this.#chunk)) }, () => this.#slot(layout, table));
    return { pipeline, table, slots };
  }

  #slot(layout: GPUBindGroupLayout, table: GPUBuffer): Slot {
    const { inputs, program } = this.#pass;
    const inputBytes = inputs.reduce((sum, { elementBytes }) => sum + words(this.#chunk * elementBytes), 0);
    const paramWords = program.params({ first: 0, count: 0, wordsAt: [] }).length;
    const upload = this.#buffer(inputBytes, USAGE.mapWrite | USAGE.copyFrom);
    const src = this.#buffer(inputBytes, USAGE.storage | USAGE.copyTo);
    const params = this.#buffer(paramWords * 4, USAGE.storage | USAGE.copyTo);
    const dst = this.#buffer(this.#outputBytes(this.#chunk), USAGE.storage | USAGE.copyFrom);
    const [x, y] = gridOf(this.#chunk / GROUP_ELEMENTS);
    const partial = this.#buffer(x * y * program.partials.size * 4, USAGE.storage | USAGE.copyFrom);
    const download = this.#buffer(dst.size + partial.size, USAGE.mapRead | USAGE.copyTo);
    const entries = [params, src, dst, table, partial].map((buffer, binding) => ({ binding, resource: { buffer } }));
    const bindings = this.#gpu.device.createBindGroup({ layout, entries });
    return { upload, src, params, dst, partial, download, bindings, done: Promise.resolve() };
  }

  #outputBytes(count: number): number {
    return words((count * this.#pass.program.outputBits) / 8);
  }

  async #start(pipeline: GPUComputePipeline, slot: Slot, start: number, count: number): Promise<void> {
    const { device } = this.#gpu;
    const wordsAt = await this.#fill(slot, start, count);
    const { program } = this.#pass;
    // Written from a buffer of its own: one that is shared between threads crashes Node 20.
    device.queue.writeBuffer(slot.params, 0, program.params({ first: start, count, wordsAt } satisfies Chunk));
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(slot.upload, 0, slot.src, 0, slot.src.size);
    const compute = encoder.beginComputePass();
    compute.setPipeline(pipeline);
    compute.setBindGroup(0, slot.bindings);
    compute.dispatchWorkgroups(...gridOf(Math.ceil(count / GROUP_ELEMENTS)));
    compute.end();
    encoder.copyBufferToBuffer(slot.dst, 0, slot.download, 0, slot.dst.size);
    encoder.copyBufferToBuffer(slot.partial, 0, slot.download, slot.dst.size, slot.partial.size);
    device.queue.submit([encoder.finish()]);
    slot.done = this.#finish(slot, start, count);
    // A failure is met where the slot is used next.
    slot.done.catch(() => {});
  }

  /** Reads inputs straight into the mapped upload buffer. @returns where each begins, in words */
  async #fill(slot: Slot, start: number, count: number): Promise<number[]> {
    await attempt("the GPU is lost", () => slot.upload.mapAsync(MAP.write));
    const mapped = slot.upload.getMappedRange();
    let at = 0;
    const wordsAt = this.#pass.inputs.map(({ elementBytes, store }) => {
      fetchBytes(store, new Uint8Array(mapped, at, count * elementBytes), start * elementBytes);
      const here = at / 4;
      at += words(this.#chunk * elementBytes);
      return here;
    });
    slot.upload.unmap();
    return wordsAt;
  }

  async #finish(slot: Slot, start: number, count: number): Promise<void> {
    await attempt("the GPU is lost", () => slot.download.mapAsync(MAP.read));
    const mapped = slot.download.getMappedRange();
    this.#gatherPartials(new Float32Array(mapped, slot.dst.size), start, count);
    const { output } = this.#pass;
    if (output !== undefined) {
      const bytes = new Uint8Array(mapped, 0, count * output.elementBytes);
      if ("bytes" in output.store) output.store.bytes.set(bytes, (start - this.#pass.first) * output.elementBytes);
      else writeFully(output.store.fd, bytes, output.store.offset + start * output.elementBytes, output.store.file);
    }
    slot.download.unmap();
  }

  /** Adds workgroups' float32 results in float64, block by block. @throws GpuFailure where they left float32's range */
  #gatherPartials(partial: Float32Array, start: number, count: number): void {
    const { partials } = this.#pass.program;
    const firstBlock = (start - this.#pass.first) / BLOCK;
    for (const [sink, { place, isMost }] of partials) {
      const results = this.#gathered.get(sink) as Float64Array;
      for (let group = 0; group < Math.ceil(count / GROUP_ELEMENTS); group++) {
        const value = partial[group * partials.size + place] as number;
        if (!Number.isFinite(value)) throw new GpuFailure("a sum left the range of float32");
        const block = firstBlock + Math.floor(group / GROUPS_PER_BLOCK);
        const sum = results[block] as number;
        results[block] = isMost ? Math.max(sum, value) : sum + value;
      }
    }
  }

  async #readTable(table: GPUBuffer): Promise<Uint32Array> {
    const { device } = this.#gpu;
    const read = await scoped(this.#gpu, () => {
      const target = this.#buffer(table.size, USAGE.mapRead | USAGE.copyTo);
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(table, 0, target, 0, table.size);
      device.queue.submit([encoder.finish()]);
      return target;
    });
    await attempt("the GPU is lost", () => read.mapAsync(MAP.read));
    return new Uint32Array(read.getMappedRange().slice(0));
  }
}
