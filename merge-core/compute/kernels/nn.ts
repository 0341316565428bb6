// The layers of a decoder, forward and backward, each in one pass over its data. All float32; rows are positions.
// A call handles whole rows (or whole columns, or whole heads), so the caller may split work among threads and the bits stay.
import { gemm } from "./gemm";
import { exp1, exp4, log1, sigmoid4, tanh1, tanh4 } from "./math";
import { maxRun } from "./tensor";

// @ts-ignore: decorator
@inline
function at(base: usize, index: i32): usize {
  return base + (<usize>index << 2);
}

// @ts-ignore: decorator
@inline
function low(x: v128): v128 {
  return f64x2.promote_low_f32x4(x);
}

// @ts-ignore: decorator
@inline
function high(x: v128): v128 {
  return f64x2.promote_low_f32x4(i64x2.shuffle(x, x, 1, 0));
}

// @ts-ignore: decorator
@inline
function sumLanes(x: v128): f64 {
  return f64x2.extract_lane(x, 0) + f64x2.extract_lane(x, 1);
}

// ---- RMS normalisation (Zhang & Sennrich 2019): y = x * inv * weight, inv = 1 / sqrt(mean(x^2) + eps)

export function rmsNormForward(x: usize, weight: usize, out: usize, inv: usize, rows: i32, n: i32, eps: f64): void {
  for (let r = 0; r < rows; r++) {
    const from = at(x, r * n), to = at(out, r * n);
    const scale = <f32>(1 / Math.sqrt(dot(from, from, n) / <f64>n + eps));
    store<f32>(at(inv, r), scale);
    const s = f32x4.splat(scale);
    let i = 0;
    for (; i + 4 <= n; i += 4) v128.store(at(to, i), f32x4.mul(f32x4.mul(v128.load(at(from, i)), s), v128.load(at(weight, i))));
    for (; i < n; i++) store<f32>(at(to, i), load<f32>(at(from, i)) * scale * load<f32>(at(weight, i)));
  }
}

/** dx = inv * (w * dy) - x * inv^3 * mean(x * w * dy) */
export function rmsNormBackward(x: usize, weight: usize, inv: usize, dy: usize, dx: usize, rows: i32, n: i32): void {
  for (let r = 0; r < rows; r++) {
    const from = at(x, r * n), up = at(dy, r * n), to = at(dx, r * n);
    const scale = load<f32>(at(inv, r));
    const pull = <f32>(<f64>scale * <f64>scale * <f64>scale * (dot3(from, weight, up, n) / <f64>n));
    const s = f32x4.splat(scale), p = f32x4.splat(pull);
    let i = 0;
    for (; i + 4 <= n; i += 4) {
      const g = f32x4.mul(v128.load(at(weight, i)), v128.load(at(up, i)));
      v128.store(at(to, i), f32x4.sub(f32x4.mul(g, s), f32x4.mul(v128.load(at(from, i)), p)));
    }
    for (; i < n; i++) store<f32>(at(to, i), load<f32>(at(weight, i)) * load<f32>(at(up, i)) * scale - load<f32>(at(from, i)) * pull);
  }
}

/** dw[j] = sum over rows of dy * x * inv, columns [j0, j1) */
export function rmsNormWeightGradient(x: usize, inv: usize, dy: usize, dw: usize, rows: i32, n: i32, j0: i32, j1: i32): void {
  let j = j0;
  for (; j + 4 <= j1; j += 4) {
    let a = f64x2.splat(0), b = a;
    for (let r = 0; r < rows; r++) {
      const v = f32x4.mul(f32x4.mul(v128.load(at(dy, r * n + j)), v128.load(at(x, r * n + j))), v128.load32_splat(at(inv, r)));
      a = f64x2.add(a, low(v));
      b = f64x2.add(b, high(v));
    }
    v128.store(at(dw, j), i64x2.shuffle(f32x4.demote_f64x2_zero(a), f32x4.demote_f64x2_zero(b), 0, 2));
  }
  for (; j < j1; j++) {
    let sum: f64 = 0;
    for (let r = 0; r < rows; r++) sum += <f64>(load<f32>(at(dy, r * n + j)) * load<f32>(at(x, r * n + j)) * load<f32>(at(inv, r)));
    store<f32>(at(dw, j), <f32>sum);
  }
}

// ---- Layer normalisation (Ba et al. 2016): y = (x - mean) * inv * weight + bias, inv = 1 / sqrt(mean((x - mean)^2) + eps)

export function layerNormForward(x: usize, weight: usize, bias: usize, out: usize, mean: usize, inv: usize, rows: i32, n: i32, eps: f64): void {
  for (let r = 0; r < rows; r++) {
    const from = at(x, r * n), to = at(out, r * n);
    const centre = <f32>(total(from, n) / <f64>n);
    const c4 = f32x4.splat(centre);
    let i = 0;
    for (; i + 4 <= n; i += 4) v128.store(at(to, i), f32x4.sub(v128.load(at(from, i)), c4));
    for (; i < n; i++) store<f32>(at(to, i), load<f32>(at(from, i)) - centre);
    const scale = <f32>(1 / Math.sqrt(dot(to, to, n) / <f64>n + eps));
    store<f32>(at(mean, r), centre);
    store<f32>(at(inv, r), scale);
    const s = f32x4.splat(scale);
    for (i = 0; i + 4 <= n; i += 4) {
      const y = f32x4.mul(f32x4.mul(v128.load(at(to, i)), s), v128.load(at(weight, i)));
      v128.store(at(to, i), f32x4.add(y, v128.load(at(bias, i))));
    }
    for (; i < n; i++) store<f32>(at(to, i), load<f32>(at(to, i)) * scale * load<f32>(at(weight, i)) + load<f32>(at(bias, i)));
  }
}

/** dx = inv * (g - mean(g) - h * mean(g * h)) for g = weight * dy and h = (x - mean) * inv, which is left in dx between the two passes */
export function layerNormBackward(x: usize, weight: usize, mean: usize, inv: usize, dy: usize, dx: usize, rows: i32, n: i32): void {
  for (let r = 0; r < rows; r++) {
    const from = at(x, r * n), up = at(dy, r * n), to = at(dx, r * n);
    const centre = load<f32>(at(mean, r)), scale = load<f32>(at(inv, r));
    const c4 = f32x4.splat(centre), s = f32x4.splat(scale);
    let i = 0;
    for (; i + 4 <= n; i += 4) v128.store(at(to, i), f32x4.mul(f32x4.sub(v128.load(at(from, i)), c4), s));
    for (; i < n; i++) store<f32>(at(to, i), (load<f32>(at(from, i)) - centre) * scale);
    const push = <f32>(dot(weight, up, n) / <f64>n), pull = <f32>(dot3(to, weight, up, n) / <f64>n);
    const push4 = f32x4.splat(push), pull4 = f32x4.splat(pull);
    for (i = 0; i + 4 <= n; i += 4) {
      const g = f32x4.mul(v128.load(at(weight, i)), v128.load(at(up, i)));
      const rest = f32x4.sub(f32x4.sub(g, push4), f32x4.mul(v128.load(at(to, i)), pull4));
      v128.store(at(to, i), f32x4.mul(rest, s));
    }
    for (; i < n; i++) store<f32>(at(to, i), (load<f32>(at(weight, i)) * load<f32>(at(up, i)) - push - load<f32>(at(to, i)) * pull) * scale);
  }
}

/** dw[j] = sum over rows of dy * (x - mean) * inv, columns [j0, j1); the gradient of the bias is a sum of columns */
export function layerNormWeightGradient(x: usize, mean: usize, inv: usize, dy: usize, dw: usize, rows: i32, n: i32, j0: i32, j1: i32): void {
  for (let j = j0; j < j1; j++) {
    let sum: f64 = 0;
    for (let r = 0; r < rows; r++) {
      const h = (load<f32>(at(x, r * n + j)) - load<f32>(at(mean, r))) * load<f32>(at(inv, r));
      sum += <f64>(load<f32>(at(dy, r * n + j)) * h);
    }
    store<f32>(at(dw, j), <f32>sum);
  }
}

/** sum in float64 */
function total(a: usize, n: i32): f64 {
  let s0 = f64x2.splat(0), s1 = s0;
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const x = v128.load(at(a, i));
    s0 = f64x2.add(s0, low(x));
    s1 = f64x2.add(s1, high(x));
  }
  let sum = sumLanes(f64x2.add(s0, s1));
  for (; i < n; i++) sum += <f64>load<f32>(at(a, i));
  return sum;
}

/** sum of a * b in float64 */
function dot(a: usize, b: usize, n: i32): f64 {
  let s0 = f64x2.splat(0), s1 = s0;
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const x = v128.load(at(a, i)), y = v128.load(at(b, i));
    s0 = f64x2.add(s0, f64x2.mul(low(x), low(y)));
    s1 = f64x2.add(s1, f64x2.mul(high(x), high(y)));
  }
  let sum = sumLanes(f64x2.add(s0, s1));
  for (; i < n; i++) sum += <f64>load<f32>(at(a, i)) * <f64>load<f32>(at(b, i));
  return sum;
}

/** sum of a * (b * c), the inner product rounded to float32 */
function dot3(a: usize, b: usize, c: usize, n: i32): f64 {
  let s0 = f64x2.splat(0), s1 = s0;
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const x = v128.load(at(a, i)), y = f32x4.mul(v128.load(at(b, i)), v128.load(at(c, i)));
    s0 = f64x2.add(s0, f64x2.mul(low(x), low(y)));
    s1 = f64x2.add(s1, f64x2.mul(high(x), high(y)));
  }
  let sum = sumLanes(f64x2.add(s0, s1));
  for (; i < n; i++) sum += <f64>load<f32>(at(a, i)) * <f64>(load<f32>(at(b, i)) * load<f32>(at(c, i)));
  return sum;
}

// ---- Rotary positions (Su et al. 2021), dimension i paired with i + half

/**
 * Rotates rows [r0, r1) of x [rows, heads * 2 * half]; row r stands at position r % seq of the tables cos and sin [seq, half].
 * `sign` 1 rotates, -1 rotates back (the gradient).
 */
export function ropeRows(x: usize, cos: usize, sin: usize, out: usize, r0: i32, r1: i32, seq: i32, heads: i32, half: i32, sign: f32): void {
  const s4 = f32x4.splat(sign);
  for (let r = r0; r < r1; r++) {
    const c = at(cos, (r % seq) * half), s = at(sin, (r % seq) * half);
    for (let h = 0; h < heads; h++) {
      const p = (r * heads + h) * 2 * half;
      const a = at(x, p), b = at(a, half), u = at(out, p), v = at(u, half);
      let i = 0;
      for (; i + 4 <= half; i += 4) {
        const x0 = v128.load(at(a, i)), x1 = v128.load(at(b, i));
        const cc = v128.load(at(c, i)), ss = f32x4.mul(v128.load(at(s, i)), s4);
        v128.store(at(u, i), f32x4.sub(f32x4.mul(x0, cc), f32x4.mul(x1, ss)));
        v128.store(at(v, i), f32x4.add(f32x4.mul(x1, cc), f32x4.mul(x0, ss)));
      }
      for (; i < half; i++) {
        const x0 = load<f32>(at(a, i)), x1 = load<f32>(at(b, i));
        const cc = load<f32>(at(c, i)), ss = load<f32>(at(s, i)) * sign;
        store<f32>(at(u, i), x0 * cc - x1 * ss);
        store<f32>(at(v, i), x1 * cc + x0 * ss);
      }
    }
  }
}

// ---- SwiGLU (Shazeer 2020): gate * sigmoid(gate) * up

export function swiGluForward(gate: usize, up: usize, out: usize, n: i32): void {
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const g = v128.load(at(gate, i));
    v128.store(at(out, i), f32x4.mul(f32x4.mul(g, sigmoid4(g)), v128.load(at(up, i))));
  }
  for (; i < n; i++) {
    const g = load<f32>(at(gate, i));
    store<f32>(at(out, i), g * (1 / (1 + exp1(-g))) * load<f32>(at(up, i)));
  }
}

/** d silu(g) / dg = s * (1 + g * (1 - s)), s = sigmoid(g) */
export function swiGluBackward(gate: usize, up: usize, dy: usize, dGate: usize, dUp: usize, n: i32): void {
  const one = f32x4.splat(1);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const g = v128.load(at(gate, i)), d = v128.load(at(dy, i)), s = sigmoid4(g);
    const slope = f32x4.mul(s, f32x4.add(one, f32x4.mul(g, f32x4.sub(one, s))));
    v128.store(at(dGate, i), f32x4.mul(f32x4.mul(d, v128.load(at(up, i))), slope));
    v128.store(at(dUp, i), f32x4.mul(d, f32x4.mul(g, s)));
  }
  for (; i < n; i++) {
    const g = load<f32>(at(gate, i)), d = load<f32>(at(dy, i)), s: f32 = 1 / (1 + exp1(-g));
    store<f32>(at(dGate, i), d * load<f32>(at(up, i)) * (s * (1 + g * (1 - s))));
    store<f32>(at(dUp, i), d * (g * s));
  }
}

// ---- GELU by its tanh form (Hendrycks & Gimpel 2016): x / 2 * (1 + tanh(c * (x + k * x^3)))

const GELU_C: f32 = 0.7978845608028654;
const GELU_K: f32 = 0.044715;

// @ts-ignore: decorator
@inline
function geluTanh4(x: v128): v128 {
  const cube = f32x4.mul(f32x4.mul(x, x), x);
  return tanh4(f32x4.mul(f32x4.add(x, f32x4.mul(cube, f32x4.splat(GELU_K))), f32x4.splat(GELU_C)));
}

export function geluForward(x: usize, out: usize, n: i32): void {
  const one = f32x4.splat(1), half = f32x4.splat(0.5);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const v = v128.load(at(x, i));
    v128.store(at(out, i), f32x4.mul(f32x4.mul(v, half), f32x4.add(one, geluTanh4(v))));
  }
  for (; i < n; i++) {
    const v = load<f32>(at(x, i));
    store<f32>(at(out, i), v * 0.5 * (1 + tanh1((v + v * v * v * GELU_K) * GELU_C)));
  }
}

/** dx = dy / 2 * (1 + t + x * (1 - t^2) * c * (1 + 3 k x^2)), t the tanh above */
export function geluBackward(x: usize, dy: usize, dx: usize, n: i32): void {
  const one = f32x4.splat(1), half = f32x4.splat(0.5);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const v = v128.load(at(x, i)), t = geluTanh4(v);
    const inner = f32x4.mul(f32x4.splat(GELU_C), f32x4.add(one, f32x4.mul(f32x4.splat(3 * GELU_K), f32x4.mul(v, v))));
    const slope = f32x4.mul(f32x4.mul(v, f32x4.sub(one, f32x4.mul(t, t))), inner);
    v128.store(at(dx, i), f32x4.mul(f32x4.mul(v128.load(at(dy, i)), half), f32x4.add(f32x4.add(one, t), slope)));
  }
  for (; i < n; i++) {
    const v = load<f32>(at(x, i)), t = tanh1((v + v * v * v * GELU_K) * GELU_C);
    const slope = v * (1 - t * t) * (GELU_C * (1 + 3 * GELU_K * (v * v)));
    store<f32>(at(dx, i), load<f32>(at(dy, i)) * 0.5 * (1 + t + slope));
  }
}

/** x *= factor, in place */
export function scaleRun(x: usize, n: i32, factor: f32): void {
  const f = f32x4.splat(factor);
  let i = 0;
  for (; i + 4 <= n; i += 4) v128.store(at(x, i), f32x4.mul(v128.load(at(x, i)), f));
  for (; i < n; i++) store<f32>(at(x, i), load<f32>(at(x, i)) * factor);
}

// ---- Softmax and cross-entropy

/** Softmax of n values after multiplication by `scale`; may be in place. What is exp(floor) times the largest or less becomes zero. */
function softmaxRun(x: usize, out: usize, n: i32, scale: f32, floor: f32): void {
  const m = maxRun(x, n) * scale;
  const m4 = f32x4.splat(m), s4 = f32x4.splat(scale), floor4 = f32x4.splat(floor);
  let s0 = f64x2.splat(0), s1 = s0;
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    const z = f32x4.sub(f32x4.mul(v128.load(at(x, i)), s4), m4);
    const e = v128.andnot(exp4(z), f32x4.lt(z, floor4));
    v128.store(at(out, i), e);
    s0 = f64x2.add(s0, low(e));
    s1 = f64x2.add(s1, high(e));
  }
  let sum = sumLanes(f64x2.add(s0, s1));
  for (; i < n; i++) {
    const z = load<f32>(at(x, i)) * scale - m;
    const e: f32 = z < floor ? 0 : exp1(z);
    store<f32>(at(out, i), e);
    sum += <f64>e;
  }
  const f = <f32>(1 / sum);
  const f4 = f32x4.splat(f);
  for (i = 0; i + 4 <= n; i += 4) v128.store(at(out, i), f32x4.mul(v128.load(at(out, i)), f4));
  for (; i < n; i++) store<f32>(at(out, i), load<f32>(at(out, i)) * f);
}

export function softmaxRows(x: usize, out: usize, rows: i32, n: i32): void {
  for (let r = 0; r < rows; r++) softmaxRun(at(x, r * n), at(out, r * n), n, 1, -Infinity);
}

/** loss[r] = logSumExp(logits[r]) - logits[r][target[r]]; logSumExp is kept for the gradient. A target outside [0, n) gives NaN. */
export function crossEntropyForward(logits: usize, targets: usize, loss: usize, logSumExp: usize, rows: i32, n: i32): void {
  for (let r = 0; r < rows; r++) {
    const x = at(logits, r * n);
    const m = maxRun(x, n), m4 = f32x4.splat(m);
    let s0 = f64x2.splat(0), s1 = s0;
    let i = 0;
    for (; i + 4 <= n; i += 4) {
      const e = exp4(f32x4.sub(v128.load(at(x, i)), m4));
      s0 = f64x2.add(s0, low(e));
      s1 = f64x2.add(s1, high(e));
    }
    let sum = sumLanes(f64x2.add(s0, s1));
    for (; i < n; i++) sum += <f64>exp1(load<f32>(at(x, i)) - m);
    const lse = m + log1(<f32>sum);
    const target = load<i32>(at(targets, r));
    store<f32>(at(logSumExp, r), lse);
    store<f32>(at(loss, r), <u32>target < <u32>n ? lse - load<f32>(at(x, target)) : NaN);
  }
}

/** dLogits = (softmax(logits) - onehot(target)) * dLoss */
export function crossEntropyBackward(logits: usize, targets: usize, logSumExp: usize, dLoss: usize, dLogits: usize, rows: i32, n: i32): void {
  for (let r = 0; r < rows; r++) {
    const x = at(logits, r * n), to = at(dLogits, r * n);
    const d = load<f32>(at(dLoss, r)), lse = load<f32>(at(logSumExp, r));
    const d4 = f32x4.splat(d), lse4 = f32x4.splat(lse);
    let i = 0;
    for (; i + 4 <= n; i += 4) v128.store(at(to, i), f32x4.mul(exp4(f32x4.sub(v128.load(at(x, i)), lse4)), d4));
    for (; i < n; i++) store<f32>(at(to, i), exp1(load<f32>(at(x, i)) - lse) * d);
    const hit = at(to, load<i32>(at(targets, r)));
    store<f32>(hit, load<f32>(hit) - d);
  }
}

// ---- Causal attention with grouped key/value heads (Vaswani et al. 2017; Ainslie et al. 2023)
// q, out [batch, seq, heads, dim]; k, v [batch, keys, kvHeads, dim]; probabilities [batch, heads, seq, keys].
// The last query sees the last key. Query t sees keys (t + keys - seq - window, t + keys - seq].

/** Query rows handled at once: keys that none of them sees are never multiplied. compute/providers/blas-kernels has the same. */
const ROWS: i32 = 64;

/** One batch entry and one key/value head with its group of query heads. */
export function attentionForward(
  batch: i32, kvHead: i32, seq: i32, keys: i32, heads: i32, kvHeads: i32, dim: i32, window: i32, scale: f32,
  q: usize, k: usize, v: usize, out: usize, probabilities: usize, scratch: usize,
): void {
  const group = heads / kvHeads, qStride = heads * dim, kStride = kvHeads * dim;
  const key = at(k, (batch * keys * kvHeads + kvHead) * dim), value = at(v, (batch * keys * kvHeads + kvHead) * dim);
  for (let h = kvHead * group; h < (kvHead + 1) * group; h++) {
    const head = (batch * seq * heads + h) * dim;
    const p = at(probabilities, (batch * heads + h) * seq * keys);
    for (let t0 = 0; t0 < seq; t0 += ROWS) {
      const t1 = min<i32>(t0 + ROWS, seq), seen = t1 + keys - seq;
      gemm(t0, t1, 0, seen, dim, at(q, head), qStride, 1, key, 1, kStride, p, keys, 0, scratch);
      maskedSoftmaxRows(p, t0, t1, seq, keys, window, scale);
      gemm(t0, t1, 0, dim, seen, p, keys, 1, value, kStride, 1, at(out, head), qStride, 0, scratch);
    }
  }
}

/** Of rows [t0, t1) of a head's scores. */
export function maskedSoftmaxRows(scores: usize, t0: i32, t1: i32, seq: i32, keys: i32, window: i32, scale: f32): void {
  for (let t = t0; t < t1; t++) maskedSoftmax(at(scores, t * keys), keys, t + 1 + keys - seq, window, scale);
}

/** Probabilities of e^-50 and less change no float32 sum, and their products with gradients are subnormal numbers, which are slow. */
const FLOOR: f32 = -50;

/** Softmax of the visible part [end - window, end) of a row of scores; zero elsewhere. */
function maskedSoftmax(row: usize, keys: i32, end: i32, window: i32, scale: f32): void {
  const start = max<i32>(0, end - window);
  softmaxRun(at(row, start), at(row, start), end - start, scale, FLOOR);
  memory.fill(row, 0, <usize>start << 2);
  memory.fill(at(row, end), 0, <usize>(keys - end) << 2);
}

/** Bytes of scratch `attentionBackward` needs beyond those of `gemm`: its own come first. */
export function attentionScratchBytes(keys: i32): i32 {
  return (ROWS * keys * 4 + 63) & ~63;
}

/** Gradients of one batch entry and one key/value head (and its query heads). */
export function attentionBackward(
  batch: i32, kvHead: i32, seq: i32, keys: i32, heads: i32, kvHeads: i32, dim: i32, scale: f32,
  q: usize, k: usize, v: usize, probabilities: usize, dOut: usize, dq: usize, dk: usize, dv: usize, scratch: usize,
): void {
  const group = heads / kvHeads, qStride = heads * dim, kStride = kvHeads * dim;
  const kv = (batch * keys * kvHeads + kvHead) * dim;
  const scores = scratch;
  const inner = scratch + <usize>attentionScratchBytes(keys);
  for (let j = 0; j < keys; j++) {
    memory.fill(at(dk, kv + j * kStride), 0, <usize>dim << 2);
    memory.fill(at(dv, kv + j * kStride), 0, <usize>dim << 2);
  }
  for (let h = kvHead * group; h < (kvHead + 1) * group; h++) {
    for (let t0 = 0; t0 < seq; t0 += ROWS) {
      const rows = min<i32>(ROWS, seq - t0), seen = t0 + rows + keys - seq;
      const head = (batch * seq * heads + t0 * heads + h) * dim;
      const p = at(probabilities, ((batch * heads + h) * seq + t0) * keys);
      gemm(0, seen, 0, dim, rows, p, 1, keys, at(dOut, head), qStride, 1, at(dv, kv), kStride, 1, inner);
      gemm(0, rows, 0, seen, dim, at(dOut, head), qStride, 1, at(v, kv), 1, kStride, scores, keys, 0, inner);
      softmaxGradientRows(p, scores, rows, keys, seen, scale);
      gemm(0, rows, 0, dim, seen, scores, keys, 1, at(k, kv), kStride, 1, at(dq, head), qStride, 0, inner);
      gemm(0, seen, 0, dim, rows, scores, 1, keys, at(q, head), qStride, 1, at(dk, kv), kStride, 1, inner);
    }
  }
}

/** Of the first `seen` of `keys` columns. */
export function softmaxGradientRows(p: usize, d: usize, rows: i32, keys: i32, seen: i32, scale: f32): void {
  for (let t = 0; t < rows; t++) softmaxGradient(at(p, t * keys), at(d, t * keys), seen, scale);
}

/** d = p * (d - sum(p * d)) * scale, in place of d */
function softmaxGradient(p: usize, d: usize, n: i32, scale: f32): void {
  const mean = <f32>dot(p, d, n);
  const mean4 = f32x4.splat(mean), s4 = f32x4.splat(scale);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    v128.store(at(d, i), f32x4.mul(f32x4.mul(v128.load(at(p, i)), f32x4.sub(v128.load(at(d, i)), mean4)), s4));
  }
  for (; i < n; i++) store<f32>(at(d, i), load<f32>(at(p, i)) * (load<f32>(at(d, i)) - mean) * scale);
}
