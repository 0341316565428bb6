// What greedy searches among many rows spend their time on: sums of few rows out of many, and the largest element of each row.

/**
 * out += sum of weight * row for the columns [from, to), for each of `count` entries of `table`: [out, list, length], where a list holds pairs of
 * a row's address and its weight as float32. Terms are added in their order, whatever the range.
 */
export function addWeightedRows(table: usize, count: i32, from: i32, to: i32): void {
  for (let i = 0; i < count; i++) {
    const entry = table + <usize>(12 * i);
    addOne(<usize>load<u32>(entry), <usize>load<u32>(entry, 4), load<u32>(entry, 8), from, to);
  }
}

function addOne(out: usize, list: usize, length: i32, from: i32, to: i32): void {
  let at = <usize>from << 2;
  const end = <usize>to << 2;
  const last = list + (<usize>length << 3);
  for (; at + 64 <= end; at += 64) {
    let s0 = v128.load(out + at), s1 = v128.load(out + at, 16), s2 = v128.load(out + at, 32), s3 = v128.load(out + at, 48);
    for (let pair = list; pair < last; pair += 8) {
      const row = <usize>load<u32>(pair) + at;
      const weight = v128.load32_splat(pair, 4);
      s0 = f32x4.add(s0, f32x4.mul(weight, v128.load(row)));
      s1 = f32x4.add(s1, f32x4.mul(weight, v128.load(row, 16)));
      s2 = f32x4.add(s2, f32x4.mul(weight, v128.load(row, 32)));
      s3 = f32x4.add(s3, f32x4.mul(weight, v128.load(row, 48)));
    }
    v128.store(out + at, s0);
    v128.store(out + at, s1, 16);
    v128.store(out + at, s2, 32);
    v128.store(out + at, s3, 48);
  }
  for (; at < end; at += 4) {
    let sum = load<f32>(out + at);
    for (let pair = list; pair < last; pair += 8) sum += load<f32>(pair, 4) * load<f32>(<usize>load<u32>(pair) + at);
    store<f32>(out + at, sum);
  }
}

/** The column of the largest magnitude in each of the rows [from, to) of `columns`, the first of equal ones, to out[row]. NaN is never the largest. */
export function largestInRows(x: usize, columns: i32, from: i32, to: i32, out: usize): void {
  for (let row = from; row < to; row++) {
    const first = x + (<usize>row * <usize>columns << 2);
    const end = first + (<usize>columns << 2);
    let most = f32x4.splat(-1);
    let at = first;
    for (; at + 16 <= end; at += 16) most = f32x4.pmax(most, f32x4.abs(v128.load(at)));
    let best = max(max(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)), max(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)));
    for (; at < end; at += 4) if (abs(load<f32>(at)) > best) best = abs(load<f32>(at));
    at = first;
    while (at < end && abs(load<f32>(at)) != best) at += 4;
    store<u32>(out + (<usize>row << 2), at < end ? <u32>((at - first) >> 2) : 0);
  }
}
