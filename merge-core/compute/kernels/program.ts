// Runs a compiled formula over a tile, chunk by chunk, so that intermediate values stay in the first-level cache.
// An instruction is 16 words: 0 code; 1 destination; 2 to 7 three operands, each an address and a step (16: register,
// 0: constant); 8 to 15 what the code needs besides. compute/program.ts writes them; the codes must agree with its table.
import { narrow, shiftOf, widen } from "./dtypes";
import { ABS, ADD, binary, DIV, EQ, GE, GT, LE, LT, MAX, MIN, MUL, mulAdd, NEG, select4, SQRT, SUB, unary } from "./elementwise";
import { fusedLinear } from "./fused";
import { bernoulli } from "./philox";
import { COUNT_NON_ZERO, COUNT_TIES, DOT, finishBlock, MAX_ABS, reduce, SUM, SUM_ABS, SUM_SQUARES } from "./reduce";
import { histogramHigh, histogramLow, trim } from "./select";

export const CHUNK: i32 = 1024;
const BLOCK: i32 = 4096;
const INSTRUCTION: usize = 64;

/** Code of the first instruction that needs nothing but operands and of the first reduction. */
const FIRST_REDUCTION = 32;

@inline
function word(ip: usize, index: usize): i32 {
  return load<i32>(ip + (index << 2));
}

@inline
function runReduction(op: i32, ip: usize, from: i32, n: i32, total: i32, firstBlock: usize): void {
  // Words 8 to 15 are the lanes; word 6 the address of the partial results, word 7 the key for COUNT_TIES.
  reduce(op, ip + 32, word(ip, 2), word(ip, 3), word(ip, 4), word(ip, 5), word(ip, 7), n);
  const end = from + n;
  if ((end & (BLOCK - 1)) == 0 || end == total) {
    const block = firstBlock + <usize>(from >>> 12);
    store<f64>(<usize>word(ip, 6) + (block << 3), finishBlock(op, ip + 32));
  }
}

function runReductions(code: i32, ip: usize, from: i32, n: i32, total: i32, firstBlock: usize): void {
  switch (code - FIRST_REDUCTION) {
    case SUM: runReduction(SUM, ip, from, n, total, firstBlock); break;
    case SUM_ABS: runReduction(SUM_ABS, ip, from, n, total, firstBlock); break;
    case SUM_SQUARES: runReduction(SUM_SQUARES, ip, from, n, total, firstBlock); break;
    case DOT: runReduction(DOT, ip, from, n, total, firstBlock); break;
    case COUNT_NON_ZERO: runReduction(COUNT_NON_ZERO, ip, from, n, total, firstBlock); break;
    case COUNT_TIES: runReduction(COUNT_TIES, ip, from, n, total, firstBlock); break;
    default: runReduction(MAX_ABS, ip, from, n, total, firstBlock);
  }
}

/** The position in this chunk from which ties are dropped. */
@inline
function relativeLimit(limit: f64, chunkStart: f64, n: i32): i32 {
  return <i32>min<f64>(max<f64>(limit - chunkStart, 0), <f64>n);
}

/**
 * Runs `count` instructions at `program` over `n` elements. `inputs` is a table of the addresses of each input's raw elements,
 * `output` where results go; `first` is the tile's first element in the tensor, a multiple of 4096.
 * Returns how many stored elements are infinite or NaN.
 */
export function runProgram(program: usize, count: i32, inputs: usize, output: usize, n: i32, first: f64): i32 {
  let bad = 0;
  const last = program + <usize>count * INSTRUCTION;
  const firstBlock = <usize>(first / <f64>BLOCK);
  for (let from = 0; from < n; from += CHUNK) {
    const size = min(CHUNK, n - from);
    const start = first + <f64>from;
    for (let ip = program; ip < last; ip += INSTRUCTION) {
      const to: usize = word(ip, 1);
      const a: usize = word(ip, 2);
      const aStep: usize = word(ip, 3);
      const b: usize = word(ip, 4);
      const bStep: usize = word(ip, 5);
      const code = word(ip, 0);
      switch (code) {
        case 0: binary(ADD, to, a, aStep, b, bStep, size); break;
        case 1: binary(SUB, to, a, aStep, b, bStep, size); break;
        case 2: binary(MUL, to, a, aStep, b, bStep, size); break;
        case 3: binary(DIV, to, a, aStep, b, bStep, size); break;
        case 4: binary(MIN, to, a, aStep, b, bStep, size); break;
        case 5: binary(MAX, to, a, aStep, b, bStep, size); break;
        case 6: binary(LT, to, a, aStep, b, bStep, size); break;
        case 7: binary(LE, to, a, aStep, b, bStep, size); break;
        case 8: binary(GT, to, a, aStep, b, bStep, size); break;
        case 9: binary(GE, to, a, aStep, b, bStep, size); break;
        case 10: binary(EQ, to, a, aStep, b, bStep, size); break;
        case 11: unary(NEG, to, a, aStep, size); break;
        case 12: unary(ABS, to, a, aStep, size); break;
        case 13: unary(SQRT, to, a, aStep, size); break;
        case 14: mulAdd(to, a, aStep, b, bStep, word(ip, 6), word(ip, 7), size); break;
        case 15: select4(to, a, aStep, b, bStep, word(ip, 6), word(ip, 7), size); break;
        case 16: trim(to, a, aStep, word(ip, 8), relativeLimit(load<f64>(ip, 40), start, size), size); break;
        case 17: {
          // The low counter word is the block of four elements; what overflows it joins the stream's word.
          const block = start / 4;
          const carry = <i32>Math.floor(block / 4294967296);
          const low = <i32><u32>(block - <f64>carry * 4294967296);
          bernoulli(to, a, aStep, size, low, word(ip, 8) + carry, word(ip, 9), word(ip, 10), word(ip, 11), word(ip, 12));
          break;
        }
        case 18: {
          const dtype = word(ip, 9);
          widen(dtype, load<usize>(inputs + (<usize>word(ip, 8) << 2)) + (<usize>from << shiftOf(dtype)), to, size);
          break;
        }
        case 19: {
          const dtype = word(ip, 9);
          bad += narrow(dtype, a, aStep, output + (<usize>from << shiftOf(dtype)), size);
          break;
        }
        case 20: bad += fusedLinear(word(ip, 8), word(ip, 9), word(ip, 10), word(ip, 11), word(ip, 12), word(ip, 13), inputs, output, from, size); break;
        case 21: histogramHigh(word(ip, 8), a, aStep, size); break;
        case 22: histogramLow(word(ip, 8), word(ip, 9), a, aStep, size); break;
        default: runReductions(code, ip, from, size, n, firstBlock);
      }
    }
  }
  return bad;
}
