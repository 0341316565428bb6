// Matrix products in WGSL: tiles of 64 x 64 in workgroup memory, 4 x 4 sums per invocation, float32 sums in a fixed order.

export interface GemmCode {
  /** Type of the factors: f16 needs the feature `shader-f16` and halves what is read; sums are float32 all the same. */
  readonly factors: "f32" | "f16";
  /** Four neighbours read one number each and hand it round, with the feature `subgroups`: a fourth of the reads of A, the same sums. */
  readonly quads?: boolean;
}

export const TILE = 64;
/** Depth of a tile, and sums per invocation along each side. */
const DEPTH = 16;
const SUMS = 4;
const SIDE = TILE / SUMS;

/** Words of the parameters: rows, columns, depth; steps of A and of B along rows and columns; then factors of the product, of D, and of I. */
export const GEMM_PARAMS = 10;

/** C = alpha op(A) op(B) + beta D + gamma I. D may be any buffer as large as C where beta is 0. */
export function gemmWgsl({ factors, quads = false }: GemmCode): string {
  const row = (j: string) => (quads ? `quadBroadcast(own, ${j})` : `tileA[at + id.y * ${SUMS}u + ${j}]`);
  const own = quads ? `let own = tileA[at + id.y * ${SUMS}u + id.x % ${SUMS}u];` : "";
  const add = Array.from({ length: SUMS }, (_, j) => `sums[${j}] += ${row(`${j}u`)} * x;`).join(" ");
  return `${factors === "f16" ? "enable f16;\n" : ""}${quads ? "enable subgroups;\n" : ""}
@group(0) @binding(0) var<storage, read> p: array<u32, ${GEMM_PARAMS}>;
@group(0) @binding(1) var<storage, read> a: array<${factors}>;
@group(0) @binding(2) var<storage, read> b: array<${factors}>;
@group(0) @binding(3) var<storage, read> d: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;
var<workgroup> tileA: array<f32, ${DEPTH * TILE}>;
var<workgroup> tileB: array<f32, ${DEPTH * TILE}>;
@compute @workgroup_size(${SIDE}, ${SIDE})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let rows = p[0]; let columns = p[1]; let depth = p[2];
  let row0 = wid.y * ${TILE}u; let column0 = wid.x * ${TILE}u;
  var sums: array<vec4<f32>, ${SUMS}>;
  for (var k0 = 0u; k0 < depth; k0 += ${DEPTH}u) {
    for (var i = local; i < ${DEPTH * TILE}u; i += ${SIDE * SIDE}u) {
      // Neighbours in memory are read by neighbouring invocations, whichever way the factor lies.
      let alongA = p[4] == 1u;
      let ka = select(i / ${TILE}u, i % ${DEPTH}u, alongA);
      let ra = select(i % ${TILE}u, i / ${DEPTH}u, alongA);
      let inA = row0 + ra < rows && k0 + ka < depth;
      tileA[ka * ${TILE}u + ra] = select(0.0, f32(a[select(0u, (row0 + ra) * p[3] + (k0 + ka) * p[4], inA)]), inA);
      let alongB = p[6] != 1u;
      let kb = select(i / ${TILE}u, i % ${DEPTH}u, alongB);
      let cb = select(i % ${TILE}u, i / ${DEPTH}u, alongB);
      let inB = column0 + cb < columns && k0 + kb < depth;
      tileB[kb * ${TILE}u + cb] = select(0.0, f32(b[select(0u, (k0 + kb) * p[5] + (column0 + cb) * p[6], inB)]), inB);
    }
    workgroupBarrier();
    for (var k = 0u; k < ${DEPTH}u; k++) {
      let at = k * ${TILE}u;
      let x = vec4<f32>(tileB[at + id.x * 4u], tileB[at + id.x * 4u + 1u], tileB[at + id.x * 4u + 2u], tileB[at + id.x * 4u + 3u]);
      ${own}
      ${add}
    }
    workgroupBarrier();
  }
  let alpha = bitcast<f32>(p[7]); let beta = bitcast<f32>(p[8]); let gamma = bitcast<f32>(p[9]);
  for (var j = 0u; j < ${SUMS}u; j++) {
    for (var i = 0u; i < 4u; i++) {
      let row = row0 + id.y * ${SUMS}u + j; let column = column0 + id.x * 4u + i;
      if (row < rows && column < columns) {
        let at = row * columns + column;
        var value = alpha * sums[j][i];
        if (beta != 0.0) { value += beta * d[at]; }
        if (row == column) { value += gamma; }
        c[at] = value;
      }
    }
  }
}`;
}
