// The instructions of a compiled formula that need more than lane-wise arithmetic, which is compiled to a loop of its own
// (compute/codegen.ts). An instruction is 16 words: 0 code; 1 destination; 2 to 7 up to three operands, each an address and a step
// (16: register, 0: constant); 8 to 15 what the code needs besides. compute/program.ts assigns the codes, compute/link.ts writes the words.
import { narrow, shiftOf, widen } from "./dtypes";
import { bernoulli } from "./philox";
import { countPatterns, signBits } from "./patterns";
import { COUNT_NON_ZERO, COUNT_TIES, count, DOT, finishBlock, finishCount, MAX_ABS, reduce, SUM, SUM_ABS, SUM_SQUARES } from "./reduce";
import { countInCell, histogramBoth, histogramHigh, histogramWindow } from "./select";

const BERNOULLI = 17;
const LOAD = 18;
const STORE = 19;
const HISTOGRAM_HIGH = 20;
const HISTOGRAM_WINDOW = 21;
const HISTOGRAM_BOTH = 23;
const SIGN_BITS = 24;
const COUNT_PATTERNS = 25;
const FIRST_REDUCTION = 32;

const BLOCK: i32 = 4096;

@inline
function word(ip: usize, index: usize): i32 {
  return load<i32>(ip + (index << 2));
}

/** Where the block that ends with this chunk leaves its result, or 0 if it goes on. */
@inline
function resultPlace(ip: usize, from: i32, n: i32, total: i32, start: f64): usize {
  const end = from + n;
  if ((end & (BLOCK - 1)) != 0 && end != total) return 0;
  return <usize>word(ip, 6) + (<usize>(start / <f64>BLOCK) << 3);
}

/** Words 8 to 15 are the lanes; word 6 the address of the block results, word 7 the key for COUNT_TIES. */
@inline
function runReduction(op: i32, ip: usize, n: i32, result: usize): void {
  reduce(op, ip + 32, word(ip, 2), word(ip, 3), word(ip, 4), word(ip, 5), n);
  if (result) store<f64>(result, finishBlock(op, ip + 32));
}

@inline
function runCount(op: i32, ip: usize, n: i32, result: usize): void {
  count(op, ip + 32, word(ip, 2), word(ip, 3), word(ip, 7), n);
  if (result) store<f64>(result, finishCount(ip + 32));
}

export function runReductions(code: i32, ip: usize, from: i32, n: i32, total: i32, start: f64): void {
  const result = resultPlace(ip, from, n, total, start);
  switch (code - FIRST_REDUCTION) {
    case SUM: runReduction(SUM, ip, n, result); break;
    case SUM_ABS: runReduction(SUM_ABS, ip, n, result); break;
    case SUM_SQUARES: runReduction(SUM_SQUARES, ip, n, result); break;
    case DOT: runReduction(DOT, ip, n, result); break;
    case COUNT_NON_ZERO: runCount(COUNT_NON_ZERO, ip, n, result); break;
    case COUNT_TIES: runCount(COUNT_TIES, ip, n, result); break;
    default: runReduction(MAX_ABS, ip, n, result);
  }
}

/**
 * Word 8 is the address of the table, 9 to 11 the window and a key in it, 12 how many elements with that key are counted so far, 13 the address of how
 * many of them each block has.
 */
@inline
function countBoth(ip: usize, from: i32, n: i32, total: i32, start: f64): void {
  const table = <usize>word(ip, 8);
  const low = word(ip, 9);
  const width = word(ip, 10);
  histogramBoth(table, low, width, word(ip, 2), word(ip, 3), n);
  const end = from + n;
  if ((end & (BLOCK - 1)) != 0 && end != total) return;
  const count = countInCell(table, low, width, word(ip, 11));
  store<f64>(<usize>word(ip, 13) + (<usize>(start / <f64>BLOCK) << 3), <f64>(count - word(ip, 12)));
  store<u32>(ip + (12 << 2), count);
}

/** Of a limit in the tensor's elements: how many of the `n` from `start` on lie below it. */
export function relativeLimit(limit: f64, start: f64, n: i32): i32 {
  return <i32>min<f64>(max<f64>(limit - start, 0), <f64>n);
}

@inline
function mask(ip: usize, start: f64, n: i32): void {
  bernoulli(word(ip, 1), word(ip, 2), word(ip, 3), n, start, word(ip, 8), word(ip, 9), word(ip, 10), word(ip, 11), word(ip, 12));
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
    case HISTOGRAM_WINDOW: histogramWindow(word(ip, 8), word(ip, 9), word(ip, 10), word(ip, 11), word(ip, 2), word(ip, 3), n); return 0;
    case HISTOGRAM_BOTH: countBoth(ip, from, n, total, start); return 0;
    case SIGN_BITS: signBits(word(ip, 8), word(ip, 9), word(ip, 2), word(ip, 3), n); return 0;
    case COUNT_PATTERNS: countPatterns(word(ip, 8), word(ip, 9), word(ip, 10) != 0, n); return 0;
    default: runReductions(code, ip, from, n, total, start); return 0;
  }
}
