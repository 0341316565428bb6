// Tensors on their way to memory while others are at work: devices and processors are then both busy.
import type { TensorEntry } from "../checkpoints/checkpoint.ts";
import type { OpenTensor } from "../compute/tensor-engine.ts";

/** More ahead gains nothing, and memory that was never used is slow to get. */
const MOST_AHEAD_BYTES = 2 ** 28;

interface Arriving {
  readonly engine: OpenTensor;
  readonly bytes: number;
  readonly arrival: Promise<void>;
}

export class TensorsAhead {
  readonly #tensors: readonly (readonly TensorEntry[])[];
  readonly #open: (entries: readonly TensorEntry[], onBytes: (bytes: number) => void) => OpenTensor;
  readonly #mostBytes: number;
  readonly #arriving: Arriving[] = [];
  #opened = 0;
  /** Settled when the last tensor opened is there: one after the other, the first of them is there soonest. */
  #loads: Promise<unknown>;
  /** Lets loads begin. */
  #release = (): void => undefined;

  /** @param memoryBytes what tensors may take that nobody asked for yet; one may take more if it is told to when it is opened */
  constructor(
    tensors: readonly (readonly TensorEntry[])[],
    open: (entries: readonly TensorEntry[], onBytes: (bytes: number) => void) => OpenTensor,
    memoryBytes: number,
  ) {
    this.#tensors = tensors;
    this.#loads = new Promise<void>((begin) => {
      this.#release = begin;
    });
    this.#open = open;
    this.#mostBytes = Math.min(MOST_AHEAD_BYTES, memoryBytes);
  }

  /** The next tensor, which is then the caller's to close. @throws WeightsmithError as opening and loading it do */
  async next(): Promise<OpenTensor> {
    this.#fill();
    const { engine, arrival } = this.#arriving.shift() as Arriving;
    try {
      await arrival;
    } catch (error) {
      engine.close();
      throw error;
    }
    return engine;
  }

  /** Loads tensors from now on, if the first was not read to its end before. To be called once it is done, however it ended. */
  begin(): void {
    this.#release();
  }

  /** Lets go of tensors that nobody asked for. */
  async close(): Promise<void> {
    this.begin();
    for (const { engine, arrival } of this.#arriving.splice(0)) {
      await arrival.catch(() => undefined);
      engine.close();
    }
  }

  /** Opens the tensor that is needed now, the one after it whatever it takes, and more up to the bound. */
  #fill(): void {
    let bytes = this.#arriving.slice(1).reduce((sum, tensor) => sum + tensor.bytes, 0);
    for (; this.#opened < this.#tensors.length; this.#opened++) {
      const entries = this.#tensors[this.#opened] as readonly TensorEntry[];
      const more = entries.reduce((sum, { byteLength }) => sum + byteLength, 0);
      if (this.#arriving.length > 1 && bytes + more > this.#mostBytes) return;
      if (this.#arriving.length > 0) bytes += more;
      this.#arriving.push({ ...(this.#opened === 0 ? this.#openFirst(entries, more) : this.#openLater(entries)), bytes: more });
    }
  }

  /** There is nothing to work on until it is there, so that its first pass reads it. Only then others are loaded. */
  #openFirst(entries: readonly TensorEntry[], bytes: number): Omit<Arriving, "bytes"> {
    let left = bytes;
    const engine = this.#open(entries, (read) => {
      left -= read;
      if (left <= 0) this.begin();
    });
    return { engine, arrival: Promise.resolve() };
  }

  #openLater(entries: readonly TensorEntry[]): Omit<Arriving, "bytes"> {
    const engine = this.#open(entries, () => undefined);
    const arrival = this.#loads.then(() => engine.load());
    // It may fail while another tensor is at work.
    this.#loads = arrival.catch(() => undefined);
    return { engine, arrival };
  }
}
