// Copies and fills.

export function copy(to: usize, from: usize, bytes: usize): void {
  memory.copy(to, from, bytes);
}

/** Fills `n` 32-bit words; the pattern of a float is its bits. */
export function fill32(to: usize, pattern: i32, n: i32): void {
  const words = i32x4.splat(pattern);
  let i = 0;
  for (; i + 4 <= n; i += 4) v128.store(to + (<usize>i << 2), words);
  for (; i < n; i++) store<i32>(to + (<usize>i << 2), pattern);
}
