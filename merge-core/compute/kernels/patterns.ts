// Which signs up to four vectors have together, element by element. Signs become bits, 64 elements to a word; how many elements have a pattern is then
// how many bits the words have in common. A table starts with the counters, the pattern's number to the base of three with the first vector's sign
// as its last digit; bits follow, of each vector those of positive elements and then those of negative ones.

/** Bytes of a table before the bits. */
const COUNTERS: usize = 1024;
/** Bytes of the bits of a chunk. */
const PLANE: usize = 128;

/** Bytes of the signs of 16 elements: saturation keeps what is not zero from becoming it, and adding zero rids -0 of its sign. */
@inline
function signs(a: usize, aStep: usize): v128 {
  const zero = f32x4.splat(0);
  const first = i16x8.narrow_i32x4_s(f32x4.add(v128.load(a), zero), f32x4.add(v128.load(a + aStep), zero));
  a += aStep << 1;
  return i8x16.narrow_i16x8_s(first, i16x8.narrow_i32x4_s(f32x4.add(v128.load(a), zero), f32x4.add(v128.load(a + aStep), zero)));
}

/** Sets the bits of vector number `vector`. Reads up to the next multiple of 64 elements. */
export function signBits(table: usize, vector: i32, a: usize, aStep: usize, n: i32): void {
  let to = table + COUNTERS + <usize>vector * (2 * PLANE);
  for (let i = 0; i < n; i += 64) {
    let positive: u64 = 0;
    let negative: u64 = 0;
    for (let shift: u64 = 0; shift < 64; shift += 16) {
      const sixteen = signs(a, aStep);
      positive |= (<u64>i8x16.bitmask(i8x16.gt_s(sixteen, i8x16.splat(0)))) << shift;
      negative |= (<u64>i8x16.bitmask(sixteen)) << shift;
      a += aStep << 2;
    }
    store<u64>(to, positive);
    store<u64>(to, negative, PLANE);
    to += 8;
  }
}

@inline
function addBits(at: usize, bits: u64): void {
  store<u32>(at, load<u32>(at) + <u32>popcnt(bits));
}

/** Counts the elements of `among` by the sign of vector 0, whose bits are at `at`. */
@inline
function countOne(to: usize, among: u64, positive: u64, negative: u64): void {
  addBits(to, among & negative);
  addBits(to + 4, among & ~(positive | negative));
  addBits(to + 8, among & positive);
}

@inline
function countTwo(to: usize, among: u64, at: usize, positive: u64, negative: u64): void {
  const positive1 = load<u64>(at, 2 * PLANE);
  const negative1 = load<u64>(at, 3 * PLANE);
  countOne(to, among & negative1, positive, negative);
  countOne(to + 12, among & ~(positive1 | negative1), positive, negative);
  countOne(to + 24, among & positive1, positive, negative);
}

function countThree(to: usize, among: u64, at: usize): void {
  const positive = load<u64>(at);
  const negative = load<u64>(at, PLANE);
  const positive2 = load<u64>(at, 4 * PLANE);
  const negative2 = load<u64>(at, 5 * PLANE);
  countTwo(to, among & negative2, at, positive, negative);
  countTwo(to + 36, among & ~(positive2 | negative2), at, positive, negative);
  countTwo(to + 72, among & positive2, at, positive, negative);
}

/** @returns the number of patterns */
@inline
function countUnder(vectors: i32, to: usize, among: u64, at: usize): i32 {
  if (vectors == 3) {
    countThree(to, among, at);
    return 27;
  }
  if (vectors == 4) {
    const positive = load<u64>(at, 6 * PLANE);
    const negative = load<u64>(at, 7 * PLANE);
    countThree(to, among & negative, at);
    countThree(to + 108, among & ~(positive | negative), at);
    countThree(to + 216, among & positive, at);
    return 81;
  }
  const positive = load<u64>(at);
  const negative = load<u64>(at, PLANE);
  if (vectors == 2) {
    countTwo(to, among, at, positive, negative);
    return 9;
  }
  countOne(to, among, positive, negative);
  return 3;
}

/** Counts for each vector the elements of the sign that is elected: that of one more vector, zero being positive. */
@inline
function countElected(vectors: i32, to: usize, among: u64, at: usize): void {
  const negative = load<u64>(at + <usize>vectors * (2 * PLANE), PLANE);
  for (let i = 0; i < vectors; i++) {
    addBits(to, among & ((load<u64>(at) & ~negative) | (load<u64>(at, PLANE) & negative)));
    at += 2 * PLANE;
    to += 4;
  }
}

/** Counts the patterns of `n` elements whose bits are set, and after them, if signs are elected, the elements that have those. */
export function countPatterns(table: usize, vectors: i32, elects: bool, n: i32): void {
  let at = table + COUNTERS;
  for (let i = 0; i < n; i += 64) {
    const all: u64 = n - i < 64 ? (<u64>1 << <u64>(n - i)) - 1 : ~(<u64>0);
    const patterns = countUnder(vectors, table, all, at);
    if (elects) countElected(vectors, table + (<usize>patterns << 2), all, at);
    at += 8;
  }
}
