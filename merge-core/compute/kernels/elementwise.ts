// Float32 operations on chunk registers. An operand advances by its step for every four elements: 16 for a register,
// 0 for a constant held as four equal lanes. Writes up to the next multiple of eight elements.

export const ADD = 0;
export const SUB = 1;
export const MUL = 2;
export const DIV = 3;
export const MIN = 4;
export const MAX = 5;
export const LT = 6;
export const LE = 7;
export const GT = 8;
export const GE = 9;
export const EQ = 10;

@inline
function apply2(op: i32, x: v128, y: v128): v128 {
  if (op == ADD) return f32x4.add(x, y);
  if (op == SUB) return f32x4.sub(x, y);
  if (op == MUL) return f32x4.mul(x, y);
  if (op == DIV) return f32x4.div(x, y);
  if (op == MIN) return f32x4.min(x, y);
  if (op == MAX) return f32x4.max(x, y);
  const one = f32x4.splat(1);
  if (op == LT) return v128.and(f32x4.lt(x, y), one);
  if (op == LE) return v128.and(f32x4.le(x, y), one);
  if (op == GT) return v128.and(f32x4.gt(x, y), one);
  if (op == GE) return v128.and(f32x4.ge(x, y), one);
  return v128.and(f32x4.eq(x, y), one);
}

@inline
export function binary(op: i32, to: usize, a: usize, aStep: usize, b: usize, bStep: usize, n: i32): void {
  const end = to + (<usize>n << 2);
  while (to < end) {
    v128.store(to, apply2(op, v128.load(a), v128.load(b)));
    v128.store(to, apply2(op, v128.load(a + aStep), v128.load(b + bStep)), 16);
    to += 32;
    a += aStep << 1;
    b += bStep << 1;
  }
}

/** to = a + b * c, two roundings. */
export function mulAdd(to: usize, a: usize, aStep: usize, b: usize, bStep: usize, c: usize, cStep: usize, n: i32): void {
  const end = to + (<usize>n << 2);
  while (to < end) {
    v128.store(to, f32x4.add(v128.load(a), f32x4.mul(v128.load(b), v128.load(c))));
    v128.store(to, f32x4.add(v128.load(a + aStep), f32x4.mul(v128.load(b + bStep), v128.load(c + cStep))), 16);
    to += 32;
    a += aStep << 1;
    b += bStep << 1;
    c += cStep << 1;
  }
}

/** to = a is not zero ? b : c. NaN is not zero. */
export function select4(to: usize, a: usize, aStep: usize, b: usize, bStep: usize, c: usize, cStep: usize, n: i32): void {
  const end = to + (<usize>n << 2);
  const zero = f32x4.splat(0);
  while (to < end) {
    v128.store(to, v128.bitselect(v128.load(b), v128.load(c), f32x4.ne(v128.load(a), zero)));
    to += 16;
    a += aStep;
    b += bStep;
    c += cStep;
  }
}

export const NEG = 0;
export const ABS = 1;
export const SQRT = 2;

@inline
export function unary(op: i32, to: usize, a: usize, aStep: usize, n: i32): void {
  const end = to + (<usize>n << 2);
  while (to < end) {
    const x = v128.load(a);
    v128.store(to, op == NEG ? f32x4.neg(x) : op == ABS ? f32x4.abs(x) : f32x4.sqrt(x));
    to += 16;
    a += aStep;
  }
}
