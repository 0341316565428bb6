// The optional engines and how each is tried: load it, multiply two matrices whose product is known, time a larger product.
import type { EngineSpec } from "./probe.ts";

/** Common to all scripts: the check, and the timing of an n x n product. */
const MEASURE = `
const N = 512;
function check(values) {
  const right = [7, 10, 15, 22];
  if (right.some((v, i) => Math.abs(v - values[i]) > 1e-4)) throw new Error("wrong product: " + Array.from(values).slice(0, 4).join(", "));
}
async function report(version, device, multiply, memoryBytes) {
  await multiply();
  const start = performance.now();
  let runs = 0;
  do { await multiply(); runs++; } while (performance.now() - start < 300);
  const figure = (2 * N ** 3 * runs) / (performance.now() - start) / 1e6;
  console.log(JSON.stringify({ version, device, figure, unit: "GFLOP/s", memoryBytes }));
}`;

/** Node 23 removed two functions that the last release of tfjs-node still calls. */
const tfjsScript = (name: string) => `${MEASURE}
import util from "node:util";
util.isNullOrUndefined ??= (x) => x === null || x === undefined;
util.isArray ??= Array.isArray;
const module = await import(${JSON.stringify(name)});
const tf = module.default ?? module;
const small = tf.tensor2d([1, 2, 3, 4], [2, 2]);
check(tf.matMul(small, small).dataSync());
const large = tf.fill([N, N], 0.5);
await report(tf.version?.["tfjs-node"] ?? tf.version?.tfjs ?? "", tf.getBackend(), () => {
  const product = tf.matMul(large, large);
  product.dataSync();
  product.dispose();
});`;

/** The object that create() returns must stay referenced for as long as a device lives. */
const webgpuScript = `${MEASURE}
const { create, globals } = await import("webgpu");
Object.assign(globalThis, globals);
const gpu = (globalThis.weightsmithGpu = create([]));
const adapter = await gpu.requestAdapter();
if (adapter === null) throw new Error("no GPU adapter found; is a Vulkan, Metal or D3D12 driver installed?");
const device = await adapter.requestDevice();
const module = device.createShaderModule({ code: \`
  @group(0) @binding(0) var<storage, read> a: array<f32>;
  @group(0) @binding(1) var<storage, read_write> c: array<f32>;
  override n: u32;
  @compute @workgroup_size(8, 8) fn main(@builtin(global_invocation_id) id: vec3u) {
    if (id.x >= n || id.y >= n) { return; }
    var sum = 0.0;
    for (var k = 0u; k < n; k++) { sum += a[id.y * n + k] * a[k * n + id.x]; }
    c[id.y * n + id.x] = sum;
  }\` });
async function square(n, values) {
  const pipeline = device.createComputePipeline({ layout: "auto", compute: { module, constants: { n } } });
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const [a, c] = [0, 1].map(() => device.createBuffer({ size: n * n * 4, usage }));
  const read = device.createBuffer({ size: n * n * 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  device.queue.writeBuffer(a, 0, values);
  const bindings = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [a, c].map((buffer, binding) => ({ binding, resource: { buffer } })) });
  return async () => {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindings);
    pass.dispatchWorkgroups(Math.ceil(n / 8), Math.ceil(n / 8));
    pass.end();
    encoder.copyBufferToBuffer(c, 0, read, 0, n * n * 4);
    device.queue.submit([encoder.finish()]);
    await read.mapAsync(GPUMapMode.READ);
    const result = new Float32Array(read.getMappedRange().slice(0));
    read.unmap();
    return result;
  };
}
check(await (await square(2, new Float32Array([1, 2, 3, 4])))());
await report("webgpu", [adapter.info?.vendor, adapter.info?.device, adapter.info?.description].filter(Boolean).join(" "), await square(N, new Float32Array(N * N).fill(0.5)), adapter.limits.maxBufferSize);
process.exit(0);`;

/** Run as the merge would run it; the program lies beside the bundle. */
export const blasEngine = (threads: number): EngineSpec => ({
  id: "blas",
  title: "BLAS and LAPACK through koffi",
  use: "large matrix products and decompositions, with --device blas or auto",
  install: BLAS_INSTALL[process.platform] ?? "npm install koffi",
  script: `process.argv.push(${JSON.stringify(String(threads))}); await import(${JSON.stringify(new URL("./blas-probe.js", import.meta.url).href)});`,
});

const BLAS_INSTALL: Readonly<Record<string, string>> = {
  linux: "npm install koffi && apt-get install libopenblas0",
  win32: "npm install koffi && conda install -c conda-forge openblas",
};

export const webgpuEngine: EngineSpec = {
  id: "webgpu",
  title: "WebGPU (Dawn)",
  use: "matrix products on any GPU, with --device webgpu or auto",
  install: "npm install webgpu",
  script: webgpuScript,
};

export const optionalEngines = (threads: number): readonly EngineSpec[] => [
  blasEngine(threads),
  {
    id: "tfjs-node-gpu",
    title: "@tensorflow/tfjs-node-gpu (CUDA)",
    use: "training and evaluation",
    install: "npm install @tensorflow/tfjs-node-gpu",
    script: tfjsScript("@tensorflow/tfjs-node-gpu"),
  },
  {
    id: "tfjs-node",
    title: "@tensorflow/tfjs-node (TensorFlow on the CPU)",
    use: "training and evaluation",
    install: "npm install @tensorflow/tfjs-node",
    script: tfjsScript("@tensorflow/tfjs-node"),
  },
  webgpuEngine,
];
