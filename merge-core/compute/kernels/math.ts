// exp, log and tanh of four floats at a time, from add, multiply and divide alone, so that their bits are the same on
// every machine. Polynomials of the Cephes library (Moshier, single precision); at most 2 ulp off.

// @ts-ignore: decorator
@inline
function poly(acc: v128, x: v128, c: f32): v128 {
  return f32x4.add(f32x4.mul(acc, x), f32x4.splat(c));
}

/** 2^n for integer lanes in [-126, 127]. */
// @ts-ignore: decorator
@inline
function pow2(n: v128): v128 {
  return i32x4.shl(i32x4.add(n, i32x4.splat(127)), 23);
}

/** exp(x); overflow gives infinity, underflow goes through subnormals to 0, NaN stays. */
// @ts-ignore: decorator
@inline
export function exp4(x: v128): v128 {
  x = f32x4.max(f32x4.min(x, f32x4.splat(89)), f32x4.splat(-105));
  const n = f32x4.nearest(f32x4.mul(x, f32x4.splat(1.44269504088896341)));
  // ln 2 in two parts: the first has few bits, so n times it is exact.
  let r = f32x4.sub(x, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = f32x4.add(r, f32x4.mul(n, f32x4.splat(2.12194440e-4)));
  let y = f32x4.splat(1.9875691500e-4);
  y = poly(y, r, 1.3981999507e-3);
  y = poly(y, r, 8.3334519073e-3);
  y = poly(y, r, 4.1665795894e-2);
  y = poly(y, r, 1.6666665459e-1);
  y = poly(y, r, 5.0000001201e-1);
  y = f32x4.add(f32x4.add(f32x4.mul(f32x4.mul(y, r), r), r), f32x4.splat(1));
  // Two factors: the exponent alone may leave the range of normal numbers.
  const k = i32x4.trunc_sat_f32x4_s(n);
  const half = i32x4.shr_s(k, 1);
  return f32x4.mul(f32x4.mul(y, pow2(half)), pow2(i32x4.sub(k, half)));
}

/** log(x); log(0) = -infinity, log of a negative = NaN. */
// @ts-ignore: decorator
@inline
export function log4(x: v128): v128 {
  const input = x;
  const subnormal = f32x4.lt(x, f32x4.splat(1.17549435e-38));
  x = v128.bitselect(f32x4.mul(x, f32x4.splat(8388608)), x, subnormal);
  let e = i32x4.sub(i32x4.shr_u(x, 23), i32x4.splat(126));
  e = i32x4.sub(e, v128.and(subnormal, i32x4.splat(23)));
  // Mantissa in [sqrt(1/2), sqrt(2)) - 1.
  let m = v128.or(v128.and(x, i32x4.splat(0x007fffff)), f32x4.splat(0.5));
  const small = f32x4.lt(m, f32x4.splat(0.707106781186547524));
  e = i32x4.add(e, small);
  m = f32x4.sub(f32x4.add(m, v128.and(m, small)), f32x4.splat(1));
  const f = f32x4.convert_i32x4_s(e);
  const z = f32x4.mul(m, m);
  let y = f32x4.splat(7.0376836292e-2);
  y = poly(y, m, -1.1514610310e-1);
  y = poly(y, m, 1.1676998740e-1);
  y = poly(y, m, -1.2420140846e-1);
  y = poly(y, m, 1.4249322787e-1);
  y = poly(y, m, -1.6668057665e-1);
  y = poly(y, m, 2.0000714765e-1);
  y = poly(y, m, -2.4999993993e-1);
  y = poly(y, m, 3.3333331174e-1);
  y = f32x4.mul(f32x4.mul(y, m), z);
  y = f32x4.add(y, f32x4.mul(f, f32x4.splat(-2.12194440e-4)));
  y = f32x4.sub(y, f32x4.mul(z, f32x4.splat(0.5)));
  y = f32x4.add(f32x4.add(m, y), f32x4.mul(f, f32x4.splat(0.693359375)));
  y = v128.bitselect(f32x4.splat(-Infinity), y, f32x4.eq(input, f32x4.splat(0)));
  y = v128.bitselect(f32x4.splat(NaN), y, f32x4.lt(input, f32x4.splat(0)));
  // Infinity and NaN are their own logarithm.
  const finite = f32x4.lt(input, f32x4.splat(Infinity));
  return v128.bitselect(y, input, finite);
}

/** 1 / (1 + exp(-x)) */
// @ts-ignore: decorator
@inline
export function sigmoid4(x: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(x))));
}

// @ts-ignore: decorator
@inline
export function tanh4(x: v128): v128 {
  const one = f32x4.splat(1);
  const z = f32x4.mul(x, x);
  let near = f32x4.splat(-5.70498872745e-3);
  near = poly(near, z, 2.06390887954e-2);
  near = poly(near, z, -5.37397155531e-2);
  near = poly(near, z, 1.33314422036e-1);
  near = poly(near, z, -3.33332819422e-1);
  near = f32x4.add(f32x4.mul(f32x4.mul(near, z), x), x);
  const far = f32x4.sub(one, f32x4.div(f32x4.splat(2), f32x4.add(exp4(f32x4.add(x, x)), one)));
  return v128.bitselect(near, far, f32x4.lt(f32x4.abs(x), f32x4.splat(0.625)));
}

/** exp of one number, by the same steps. */
export function exp1(x: f32): f32 {
  return f32x4.extract_lane(exp4(f32x4.splat(x)), 0);
}

export function log1(x: f32): f32 {
  return f32x4.extract_lane(log4(f32x4.splat(x)), 0);
}

export function tanh1(x: f32): f32 {
  return f32x4.extract_lane(tanh4(f32x4.splat(x)), 0);
}
