/** How far a run is. `secondsLeft` is absent until there is a rate to judge by. */
export interface MergeProgress {
  /** Output bytes written, those of an earlier run included. */
  readonly bytesDone: number;
  readonly bytesTotal: number;
  /** The tensor being worked on. */
  readonly tensor: string;
  readonly secondsLeft?: number;
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

  /** `resumedBytes` are done but say nothing about speed. */
  constructor(totalBytes: number, resumedBytes: number, report: ((progress: MergeProgress) => void) | undefined) {
    this.#total = totalBytes;
    this.#resumed = resumedBytes;
    this.#done = resumedBytes;
    this.#report = report;
  }

  add(bytes: number, tensor: string): void {
    this.#done += bytes;
    this.#report?.({ bytesDone: this.#done, bytesTotal: this.#total, tensor, ...this.#estimate() });
  }

  #estimate(): { secondsLeft?: number } {
    const seconds = (performance.now() - this.#started) / 1000;
    const done = this.#done - this.#resumed;
    return seconds < MIN_RATE_SECONDS || done === 0 ? {} : { secondsLeft: ((this.#total - this.#done) * seconds) / done };
  }
}
