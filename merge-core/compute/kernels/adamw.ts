// AdamW (Loshchilov & Hutter 2019, 1711.05101) in one pass over parameter, gradient and both moments, and the norm for clipping.

// @ts-ignore: decorator
@inline
function at(base: usize, index: i32): usize {
  return base + (<usize>index << 2);
}

/**
 * p -= lr * decay * p, then p -= step * m / (sqrt(v) * root + eps), with g scaled by `gradientScale` first.
 * step = lr / (1 - beta1^t), root = 1 / sqrt(1 - beta2^t), as torch orders it. The tail shares the vector path through one lane.
 */
export function adamw(
  p: usize, g: usize, m: usize, v: usize, n: i32,
  keep: f32, beta1: f32, rest1: f32, beta2: f32, rest2: f32, step: f32, root: f32, eps: f32, gradientScale: f32,
): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const gradient = f32x4.mul(v128.load(at(g, i)), f32x4.splat(gradientScale));
    const mean = f32x4.add(f32x4.mul(v128.load(at(m, i)), f32x4.splat(beta1)), f32x4.mul(gradient, f32x4.splat(rest1)));
    const square = f32x4.add(f32x4.mul(v128.load(at(v, i)), f32x4.splat(beta2)), f32x4.mul(f32x4.mul(gradient, gradient), f32x4.splat(rest2)));
    const scale = f32x4.add(f32x4.mul(f32x4.sqrt(square), f32x4.splat(root)), f32x4.splat(eps));
    v128.store(at(m, i), mean);
    v128.store(at(v, i), square);
    v128.store(at(p, i), f32x4.sub(f32x4.mul(v128.load(at(p, i)), f32x4.splat(keep)), f32x4.div(f32x4.mul(mean, f32x4.splat(step)), scale)));
  }
  for (; i < n; i++) {
    const gradient = load<f32>(at(g, i)) * gradientScale;
    const mean = load<f32>(at(m, i)) * beta1 + gradient * rest1;
    const square = load<f32>(at(v, i)) * beta2 + gradient * gradient * rest2;
    store<f32>(at(m, i), mean);
    store<f32>(at(v, i), square);
    store<f32>(at(p, i), load<f32>(at(p, i)) * keep - (mean * step) / (sqrt<f32>(square) * root + eps));
  }
}

/** out[b] = float64 sum of squares of block b, for `n` elements cut in blocks of `block` (the last may be short). */
export function sumSquaresBlocks(x: usize, out: usize, n: i32, block: i32): void {
  for (let start = 0; start < n; start += block) {
    const end = min<i32>(start + block, n);
    let a = f64x2.splat(0), b = a;
    let i = start;
    for (; i + 4 <= end; i += 4) {
      const x4 = v128.load(at(x, i));
      const lo = f64x2.promote_low_f32x4(x4), hi = f64x2.promote_low_f32x4(i64x2.shuffle(x4, x4, 1, 0));
      a = f64x2.add(a, f64x2.mul(lo, lo));
      b = f64x2.add(b, f64x2.mul(hi, hi));
    }
    a = f64x2.add(a, b);
    let sum = f64x2.extract_lane(a, 0) + f64x2.extract_lane(a, 1);
    for (; i < end; i++) sum += <f64>load<f32>(at(x, i)) * <f64>load<f32>(at(x, i));
    store<f64>(out, sum);
    out += 8;
  }
}
