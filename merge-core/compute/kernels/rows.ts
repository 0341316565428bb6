// Inner products and sums of float64 rows. Rows lie `stride` elements apart, an even number, with zeros behind their end.

/** Products of the rows [from, to) with all rows up to themselves; both ends are multiples of four. `out` is [rows, rows]. */
export function rowProducts(x: usize, rows: i32, stride: i32, out: usize, from: i32, to: i32): void {
  const bytes = <usize>stride << 3;
  for (let i = from; i < to; i += 4)
    for (let j = 0; j <= i; j += 4) square(x + <usize>i * bytes, x + <usize>j * bytes, bytes, out + (<usize>(i * rows + j) << 3), <usize>rows << 3);
}

function sum(v: v128): f64 {
  return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1);
}

/** Two rows by four at a time, twice: eight sums and six operands fit the registers. */
function square(x: usize, y: usize, bytes: usize, out: usize, outBytes: usize): void {
  for (let half = 0; half < 2; half++) {
    const p = x + <usize>(2 * half) * bytes;
    let s00 = f64x2.splat(0), s01 = s00, s02 = s00, s03 = s00;
    let s10 = s00, s11 = s00, s12 = s00, s13 = s00;
    for (let k: usize = 0; k < bytes; k += 16) {
      const a0 = v128.load(p + k);
      const a1 = v128.load(p + bytes + k);
      const b0 = v128.load(y + k);
      const b1 = v128.load(y + bytes + k);
      const b2 = v128.load(y + 2 * bytes + k);
      const b3 = v128.load(y + 3 * bytes + k);
      s00 = f64x2.add(s00, f64x2.mul(a0, b0));
      s01 = f64x2.add(s01, f64x2.mul(a0, b1));
      s02 = f64x2.add(s02, f64x2.mul(a0, b2));
      s03 = f64x2.add(s03, f64x2.mul(a0, b3));
      s10 = f64x2.add(s10, f64x2.mul(a1, b0));
      s11 = f64x2.add(s11, f64x2.mul(a1, b1));
      s12 = f64x2.add(s12, f64x2.mul(a1, b2));
      s13 = f64x2.add(s13, f64x2.mul(a1, b3));
    }
    const q = out + <usize>(2 * half) * outBytes;
    store<f64>(q, sum(s00));
    store<f64>(q, sum(s01), 8);
    store<f64>(q, sum(s02), 16);
    store<f64>(q, sum(s03), 24);
    store<f64>(q + outBytes, sum(s10));
    store<f64>(q + outBytes, sum(s11), 8);
    store<f64>(q + outBytes, sum(s12), 16);
    store<f64>(q + outBytes, sum(s13), 24);
  }
}

/** Rows [from, to) of C X, C [., rows] and X [rows, stride]; rows is a multiple of four. */
export function rowSums(c: usize, x: usize, rows: i32, stride: i32, out: usize, from: i32, to: i32): void {
  const bytes = <usize>stride << 3;
  for (let i = from; i < to; i++) {
    const target = out + <usize>i * bytes;
    memory.fill(target, 0, bytes);
    for (let j = 0; j < rows; j += 4) {
      const f = c + (<usize>(i * rows + j) << 3);
      const f0 = v128.load64_splat(f);
      const f1 = v128.load64_splat(f, 8);
      const f2 = v128.load64_splat(f, 16);
      const f3 = v128.load64_splat(f, 24);
      const source = x + <usize>j * bytes;
      for (let k: usize = 0; k < bytes; k += 16) {
        const low = f64x2.add(f64x2.mul(f0, v128.load(source + k)), f64x2.mul(f1, v128.load(source + bytes + k)));
        const high = f64x2.add(f64x2.mul(f2, v128.load(source + 2 * bytes + k)), f64x2.mul(f3, v128.load(source + 3 * bytes + k)));
        v128.store(target + k, f64x2.add(v128.load(target + k), f64x2.add(low, high)));
      }
    }
  }
}
