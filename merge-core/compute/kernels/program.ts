// The instructions of a compiled formula that need more than lane-wise arithmetic, which is compiled to a loop of its own
// (compute/codegen.ts). An instruction is 16 words: 0 code; 1 destination; 2 to 7 up to three operands, each an address and a step
// (16: register, 0: constant); 8 to 15 what the code needs besides. compute/program.ts assigns the codes, compute/link.ts writes the words.
import { narrow, shiftOf, widen } from "./dtypes";
import { bernoulli } from "./philox";
import { COUNT_NON_ZERO, COUNT_TIES, DOT, finishBlock, MAX_ABS, reduce, SUM, SUM_ABS, SUM_SQUARES } from "./reduce";
import { histogramHigh, histogramLow } from "./select";

const BERNOULLI = 17;
const LOAD = 18;
const STORE = 19;
const HISTOGRAM_HIGH = 20;
const HISTOGRAM_LOW = 21;
const FIRST_REDUCTION = 32;

const BLOCK: i32 = 4096;

@inline
function word(ip: usize, index: usize): i32 {
  return load<i32>(ip + (index << 2));
}

@inline
function runReduction(op: i32, ip: usize, from: i32, n: i32, total: i32, start: f64): void {
  // Words 8 to 15 are the lanes; word 6 the address of the partial results, word 7 the key for COUNT_TIES.
  reduce(op, ip + 32, word(ip, 2), word(ip, 3), word(ip, 4), word(ip, 5), word(ip, 7), n);
  const end = from + n;
  if ((end & (BLOCK - 1)) == 0 || end == total) {
    const block = <usize>(start / <f64>BLOCK);
    store<f64>(<usize>word(ip, 6) + (block << 3), finishBlock(op, ip + 32));
  }
}

export function runReductions(code: i32, ip: usize, from: i32, n: i32, total: i32, start: f64): void {
  switch (code - FIRST_REDUCTION) {
    case SUM: runReduction(SUM, ip, from, n, total, start); break;
    case SUM_ABS: runReduction(SUM_ABS, ip, from, n, total, start); break;
    case SUM_SQUARES: runReduction(SUM_SQUARES, ip, from, n, total, start); break;
    case DOT: runReduction(DOT, ip, from, n, total, start); break;
    case COUNT_NON_ZERO: runReduction(COUNT_NON_ZERO, ip, from, n, total, start); break;
    case COUNT_TIES: runReduction(COUNT_TIES, ip, from, n, total, start); break;
    default: runReduction(MAX_ABS, ip, from, n, total, start);
  }
}

/** Of a limit in the tensor's elements: how many of the `n` from `start` on lie below it. */
export function relativeLimit(limit: f64, start: f64, n: i32): i32 {
  return <i32>min<f64>(max<f64>(limit - start, 0), <f64>n);
}

@inline
function mask(ip: usize, start: f64, n: i32): void {
  // The low counter word is the block of four elements; what overflows it joins the stream's word.
  const block = start / 4;
  const carry = <i32>Math.floor(block / 4294967296);
  const low = <i32><u32>(block - <f64>carry * 4294967296);
  bernoulli(word(ip, 1), word(ip, 2), word(ip, 3), n, low, word(ip, 8) + carry, word(ip, 9), word(ip, 10), word(ip, 11), word(ip, 12));
}

/**
 * Runs one instruction on the `n` elements of a chunk: elements `from` on of a tile of `total`, `start` on of the tensor.
 * `inputs` is a table of the addresses of each input's raw elements in this tile, `output` where its results go.
 * Returns how many stored elements are infinite or NaN.
 */
export function runInstruction(ip: usize, inputs: usize, output: usize, from: i32, n: i32, total: i32, start: f64): i32 {
  const code = word(ip, 0);
  const dtype = word(ip, 9);
  switch (code) {
    case BERNOULLI: mask(ip, start, n); return 0;
    case LOAD: widen(dtype, load<usize>(inputs + (<usize>word(ip, 8) << 2)) + (<usize>from << shiftOf(dtype)), word(ip, 1), n); return 0;
    case STORE: return narrow(dtype, word(ip, 2), word(ip, 3), output + (<usize>from << shiftOf(dtype)), n);
    case HISTOGRAM_HIGH: histogramHigh(word(ip, 8), word(ip, 2), word(ip, 3), n); return 0;
    case HISTOGRAM_LOW: histogramLow(word(ip, 8), dtype, word(ip, 2), word(ip, 3), n); return 0;
    default: runReductions(code, ip, from, n, total, start); return 0;
  }
}
