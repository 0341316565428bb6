// Rotations of pairs of float64 rows, as compute/linalg/one-sided-jacobi.ts defines them.

const ROUNDING: f64 = 1e-15;
const NEGLIGIBLE: f64 = 1e-14;

/**
 * Rotates the pairs [from, to) of the list `pairs` (two row numbers each) of a matrix with rows of `columns`, and stores the
 * largest cosine it met at `result`.
 */
export function jacobiRotate(work: usize, columns: i32, pairs: usize, from: i32, to: i32, result: usize): void {
  const stride = <usize>columns << 3;
  let worst: f64 = 0;
  for (let i = from; i < to; i++) {
    const p = load<u32>(pairs + (<usize>i << 3));
    const q = load<u32>(pairs + (<usize>i << 3), 4);
    worst = max(worst, rotatePair(work + <usize>p * stride, work + <usize>q * stride, columns));
  }
  store<f64>(result, worst);
}

function rotatePair(x: usize, y: usize, n: i32): f64 {
  let aa = f64x2.splat(0), bb = aa, cc = aa;
  const even = n & ~1;
  for (let i = 0; i < even; i += 2) {
    const at = <usize>i << 3;
    const u = v128.load(x + at);
    const v = v128.load(y + at);
    aa = f64x2.add(aa, f64x2.mul(u, u));
    bb = f64x2.add(bb, f64x2.mul(v, v));
    cc = f64x2.add(cc, f64x2.mul(u, v));
  }
  let a = f64x2.extract_lane(aa, 0) + f64x2.extract_lane(aa, 1);
  let b = f64x2.extract_lane(bb, 0) + f64x2.extract_lane(bb, 1);
  let c = f64x2.extract_lane(cc, 0) + f64x2.extract_lane(cc, 1);
  if (n & 1) {
    const u = load<f64>(x + (<usize>even << 3));
    const v = load<f64>(y + (<usize>even << 3));
    a += u * u;
    b += v * v;
    c += u * v;
  }
  const cosine = abs(c) / sqrt(a * b);
  const skip = !(cosine > ROUNDING) || min(a, b) <= NEGLIGIBLE * NEGLIGIBLE * max(a, b);
  if (skip) {
    if (a < b) turn(x, y, n, 0, -1);
    return 0;
  }
  const zeta = (b - a) / (2 * c);
  const t = (zeta < 0 ? -1.0 : 1.0) / (abs(zeta) + sqrt(1 + zeta * zeta));
  const cos = 1 / sqrt(1 + t * t);
  if (a >= b) turn(x, y, n, cos, cos * t);
  else turn(x, y, n, cos * t, -cos);
  return cosine;
}

/** x, y = cos x - sin y, sin x + cos y. */
function turn(x: usize, y: usize, n: i32, cos: f64, sin: f64): void {
  const c = f64x2.splat(cos);
  const s = f64x2.splat(sin);
  const even = n & ~1;
  for (let i = 0; i < even; i += 2) {
    const at = <usize>i << 3;
    const u = v128.load(x + at);
    const v = v128.load(y + at);
    v128.store(x + at, f64x2.sub(f64x2.mul(c, u), f64x2.mul(s, v)));
    v128.store(y + at, f64x2.add(f64x2.mul(s, u), f64x2.mul(c, v)));
  }
  if (n & 1) {
    const at = <usize>even << 3;
    const u = load<f64>(x + at);
    const v = load<f64>(y + at);
    store<f64>(x + at, cos * u - sin * v);
    store<f64>(y + at, sin * u + cos * v);
  }
}
