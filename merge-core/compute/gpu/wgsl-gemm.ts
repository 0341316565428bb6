// Matrix products in WGSL: tiles in workgroup memory, a square of sums per invocation, float32 sums in a fixed order. Of each factor an
// invocation brings one vector of four per tile, and has the next on its way while it multiplies.

export interface GemmCode {
  /** Type of the factors: f16 needs the feature `shader-f16` and halves what is read; sums are float32 all the same. */
  readonly factors: "f32" | "f16";
  /** Side of the square of sums of an invocation: 8 multiplies more per number read, 4 gives more workgroups. */
  readonly sums: 4 | 8;
  /** Four neighbours read one number each and hand it round, with the feature `subgroups`: a fourth of the reads of A, the same sums. */
  readonly quads?: boolean;
}

/** Invocations of a workgroup along each side. */
const SIDE = 16;

/** Side of the square of C that a workgroup computes. */
export const tileOf = ({ sums }: Pick<GemmCode, "sums">): number => SIDE * sums;

/** Words of the parameters: rows, columns, depth; steps of A and of B along rows and columns; factors of the product, of D, and of I; whether C is symmetric. */
export const GEMM_PARAMS = 11;

/** C = alpha op(A) op(B) + beta D + gamma I. D may be any buffer as large as C where beta is 0. Of a symmetric C one half is computed and written twice. */
export function gemmWgsl({ factors, sums, quads = false }: GemmCode): string {
  const tile = tileOf({ sums });
  /** Vectors of four along a tile's side; those of a tile are as many as the invocations of a workgroup. */
  const across = tile / 4;
  const depth = (SIDE * SIDE) / across;
  const parts = Array.from({ length: sums / 4 }, (_, i) => i);
  const rows = parts.flatMap((part) => [0, 1, 2, 3].map((j) => ({ name: `a${part}[${j}u]`, part, j })));
  // Vectors lie in an order that depends on k, so that neighbours who write with different k meet different banks of memory.
  const readA = (part: number) => `tileA[at + ((${part * SIDE}u + id.y) ^ k)]`;
  const reads = parts.map((part) =>
    quads
      ? `let own${part} = ${readA(part)}[id.x & 3u]; let a${part} = vec4<f32>(${[0, 1, 2, 3].map((j) => `quadBroadcast(own${part}, ${j}u)`).join(", ")});`
      : `let a${part} = ${readA(part)};`,
  );
  const sumOf = (row: { part: number; j: number }, column: number) => `s${row.part}${row.j}${column}`;
  const all = rows.flatMap((row) => parts.map((column) => ({ row, column, name: sumOf(row, column) })));
  return `${factors === "f16" ? "enable f16;\n" : ""}${quads ? "enable subgroups;\n" : ""}
@group(0) @binding(0) var<storage, read> p: array<u32, ${GEMM_PARAMS}>;
@group(0) @binding(1) var<storage, read> a: array<${factors}>;
@group(0) @binding(2) var<storage, read> b: array<${factors}>;
@group(0) @binding(3) var<storage, read> d: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;
// Two tiles of each: one is read while the other is written, so that one barrier a tile is enough.
var<workgroup> tileA: array<vec4<f32>, ${2 * SIDE * SIDE}>;
var<workgroup> tileB: array<vec4<f32>, ${2 * SIDE * SIDE}>;
fn elementA(row: u32, k: u32) -> f32 {
  let inside = row < p[0] && k < p[2];
  return select(0.0, f32(a[select(0u, row * p[3] + k * p[4], inside)]), inside);
}
fn elementB(k: u32, column: u32) -> f32 {
  let inside = column < p[1] && k < p[2];
  return select(0.0, f32(b[select(0u, k * p[5] + column * p[6], inside)]), inside);
}
fn fourOfA(row: u32, k: u32) -> vec4<f32> { return vec4<f32>(elementA(row, k), elementA(row + 1u, k), elementA(row + 2u, k), elementA(row + 3u, k)); }
fn fourOfB(k: u32, column: u32) -> vec4<f32> { return vec4<f32>(elementB(k, column), elementB(k, column + 1u), elementB(k, column + 2u), elementB(k, column + 3u)); }
fn put(row: u32, column: u32, sum: f32) {
  if (row >= p[0] || column >= p[1]) { return; }
  let at = row * p[1] + column;
  var value = bitcast<f32>(p[7]) * sum;
  let beta = bitcast<f32>(p[8]);
  if (beta != 0.0) { value += beta * d[at]; }
  if (row == column) { value += bitcast<f32>(p[9]); }
  c[at] = value;
  if (p[10] == 1u) { c[column * p[1] + row] = value; }
}
fn putFour(row: u32, column: u32, sums: vec4<f32>) {
  for (var i = 0u; i < 4u; i++) {
    // Of a tile on the diagonal the same element comes twice: one of them is written.
    if (p[10] == 0u || column + i <= row) { put(row, column + i, sums[i]); }
  }
}
@compute @workgroup_size(${SIDE}, ${SIDE})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  if (p[10] == 1u && wid.x > wid.y) { return; }
  let row0 = wid.y * ${tile}u; let column0 = wid.x * ${tile}u;
  // Neighbours in memory are read by neighbouring invocations, whichever way the factor lies.
  let alongA = p[4] == 1u;
  let ka = select(local / ${across}u, local % ${depth}u, alongA);
  let ra = select(local % ${across}u, local / ${depth}u, alongA);
  let alongB = p[6] != 1u;
  let kb = select(local / ${across}u, local % ${depth}u, alongB);
  let cb = select(local % ${across}u, local / ${depth}u, alongB);
${all.map(({ name }) => `  var ${name} = vec4<f32>();`).join("\n")}
  var nextA = fourOfA(row0 + ra * 4u, ka);
  var nextB = fourOfB(kb, column0 + cb * 4u);
  var half = 0u;
  for (var k0 = 0u; k0 < p[2]; k0 += ${depth}u) {
    tileA[half + ka * ${across}u + (ra ^ ka)] = nextA;
    tileB[half + kb * ${across}u + (cb ^ kb)] = nextB;
    workgroupBarrier();
    nextA = fourOfA(row0 + ra * 4u, k0 + ${depth}u + ka);
    nextB = fourOfB(k0 + ${depth}u + kb, column0 + cb * 4u);
    for (var k = 0u; k < ${depth}u; k++) {
      let at = half + k * ${across}u;
${reads.map((line) => `      ${line}`).join("\n")}
${parts.map((part) => `      let b${part} = tileB[at + ((${part * SIDE}u + id.x) ^ k)];`).join("\n")}
${all.map(({ row, column, name }) => `      ${name} += ${row.name} * b${column};`).join("\n")}
    }
    half = ${SIDE * SIDE}u - half;
  }
${all.map(({ row, column, name }) => `  putFour(row0 + ${row.part * 4 * SIDE + row.j}u + id.y * 4u, column0 + ${column * 4 * SIDE}u + id.x * 4u, ${name});`).join("\n")}
}`;
}
