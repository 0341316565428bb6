// Inner products of float32 rows, or columns, in float64: each is the sum in index order, so that the bits do not depend on how lines are shared out.

/** out[row] for the rows [from, to) of two matrices with rows of `columns`. Four rows at a time: one sum alone waits for itself. */
export function rowDots(a: usize, b: usize, columns: i32, from: i32, to: i32, out: usize): void {
  const stride = <usize>columns << 2;
  let row = from;
  for (; row + 4 <= to; row += 4) {
    let s0: f64 = 0, s1: f64 = 0, s2: f64 = 0, s3: f64 = 0;
    let x = a + <usize>row * stride;
    let y = b + <usize>row * stride;
    for (let k = 0; k < columns; k++) {
      s0 += <f64>load<f32>(x) * <f64>load<f32>(y);
      s1 += <f64>load<f32>(x + stride) * <f64>load<f32>(y + stride);
      s2 += <f64>load<f32>(x + 2 * stride) * <f64>load<f32>(y + 2 * stride);
      s3 += <f64>load<f32>(x + 3 * stride) * <f64>load<f32>(y + 3 * stride);
      x += 4;
      y += 4;
    }
    const to = out + (<usize>row << 3);
    store<f64>(to, s0);
    store<f64>(to, s1, 8);
    store<f64>(to, s2, 16);
    store<f64>(to, s3, 24);
  }
  for (; row < to; row++) {
    let sum: f64 = 0;
    const at = <usize>row * stride;
    for (let k: usize = 0; k < stride; k += 4) sum += <f64>load<f32>(a + at + k) * <f64>load<f32>(b + at + k);
    store<f64>(out + (<usize>row << 3), sum);
  }
}

/** Adds the products of all rows to sums[column] for the columns [from, to). */
export function columnDots(a: usize, b: usize, rows: i32, columns: i32, from: i32, to: i32, sums: usize): void {
  const even = from + ((to - from) & ~1);
  for (let row = 0; row < rows; row++) {
    const x = a + (<usize>row * <usize>columns << 2);
    const y = b + (<usize>row * <usize>columns << 2);
    for (let k = from; k < even; k += 2) {
      const at = <usize>k << 2;
      const u = f64x2.promote_low_f32x4(v128.load64_zero(x + at));
      const v = f64x2.promote_low_f32x4(v128.load64_zero(y + at));
      v128.store(sums + (at << 1), f64x2.add(v128.load(sums + (at << 1)), f64x2.mul(u, v)));
    }
    if (even < to) {
      const at = <usize>even << 2;
      store<f64>(sums + (at << 1), load<f64>(sums + (at << 1)) + <f64>load<f32>(x + at) * <f64>load<f32>(y + at));
    }
  }
}
