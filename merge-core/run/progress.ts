/** How far a run is. `secondsLeft` is absent until there is a rate to judge by. */
export interface MergeProgress {
  /** Output bytes written, those of an earlier run included. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
  /** The tensor being worked on. */
  readonly tensor: string;
  readonly secondsLeft?: number;
  /** Since the start of this run: input bytes and values that went into what is written. */
  readonly bytesRead: number;
  readonly values: number;
  /** The output file being written. */
  readonly shard?: ShardProgress;
}

export interface ShardProgress {
  readonly file: string;
  /** Counted from 1. */
  readonly number: number;
  readonly count: number;
}

/** What a step of the work read and where it wrote. */
export interface WorkDone {
  readonly bytesRead: number;
  readonly values: number;
  readonly shard: ShardProgress;
}

/** Rates over less than this are noise. */
const MIN_RATE_SECONDS = 0.5;

/** Counts bytes and reports them. */
export class ProgressMeter {
  readonly #total: number;
  readonly #report: ((progress: MergeProgress) => void) | undefined;
  readonly #started = performance.now();
  readonly #resumed: number;
  #done: number;
  #bytesRead = 0;
  #values = 0;

  /** `resumedBytes` are done but say nothing about speed. */
  constructor(totalBytes: number, resumedBytes: number, report: ((progress: MergeProgress) => void) | undefined) {
    this.#total = totalBytes;
    this.#resumed = resumedBytes;
    this.#done = resumedBytes;
    this.#report = report;
  }

  add(bytes: number, tensor: string, work?: WorkDone): void {
    this.#done += bytes;
    this.#bytesRead += work?.bytesRead ?? 0;
    this.#values += work?.values ?? 0;
    const shard = work === undefined ? {} : { shard: work.shard };
    this.#report?.({ bytesDone: this.#done, bytesTotal: this.#total, tensor, bytesRead: this.#bytesRead, values: this.#values, ...shard, ...this.#estimate() });
  }

  #estimate(): { secondsLeft?: number } {
    const seconds = (performance.now() - this.#started) / 1000;
    const done = this.#done - this.#resumed;
    return seconds < MIN_RATE_SECONDS || done === 0 ? {} : { secondsLeft: ((this.#total - this.#done) * seconds) / done };
  }
}
