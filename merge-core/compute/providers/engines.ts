// The optional engines and how each is tried: load it, multiply two matrices whose product is known, time a larger product.
import { installCommand } from "./find-package.ts";
import { TFJS_PACKAGES, type TfjsDevice } from "./load-tfjs.ts";
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

/** Loaded as training would load it; the program lies beside the bundle. */
const LOADER = JSON.stringify(new URL("./load-tfjs.js", import.meta.url).href);

const tfjsScript = (device: TfjsDevice) => `${MEASURE}
const { loadTfjs } = await import(${LOADER});
const { tf, version, device, memoryBytes } = await loadTfjs(${JSON.stringify(device)});
const square = async (x) => {
  const product = tf.matMul(x, x);
  const values = await product.data();
  product.dispose();
  return values;
};
check(await square(tf.tensor2d([1, 2, 3, 4], [2, 2])));
const large = tf.fill([N, N], 0.5);
await report(version, device, () => square(large), memoryBytes);
process.exit(0);`;

/** The object that create() returns must stay referenced for as long as a device lives. */
const webgpuScript = `${MEASURE}
const { loadWebgpu, webgpuVersion } = await import(${LOADER});
const { create, globals } = await loadWebgpu();
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
await report(webgpuVersion(), [adapter.info?.vendor, adapter.info?.device, adapter.info?.description].filter(Boolean).join(" "), await square(N, new Float32Array(N * N).fill(0.5)), adapter.limits.maxBufferSize);
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

/** Dawn is there and sees no GPU: what is missing is not an npm package. */
const DRIVERS: Readonly<Record<string, string>> = {
  linux: "install the GPU's Vulkan driver (NVIDIA's own, or apt-get install mesa-vulkan-drivers for AMD and Intel) and see what vulkaninfo lists",
  darwin: "use a Mac with Metal; a virtual machine needs GPU access",
  win32: "install the GPU maker's driver with Direct3D 12",
};
const NO_ADAPTER = { found: /no GPU adapter/, remedy: DRIVERS[process.platform] ?? "install the GPU's driver" };
/** The addon is downloaded by a script that npm may have been told not to run. */
const NO_ADDON = (name: string) => ({
  found: /native addon module/,
  remedy: `npm rebuild ${name} --build-addon-from-source, with scripts allowed and network`,
});

export const webgpuEngine: EngineSpec = {
  id: "webgpu",
  title: "WebGPU (Dawn)",
  use: "matrix products on any GPU, with --device webgpu or auto",
  install: installCommand("webgpu"),
  remedies: [NO_ADAPTER],
  script: webgpuScript,
};

const tfjsEngine = (device: TfjsDevice, title: string): EngineSpec => ({
  id: device === "webgpu" ? "tfjs-webgpu" : device,
  title,
  use: device === "webgpu" ? "training and evaluation, with --device webgpu" : "training, evaluation and matrix products, with --device",
  install: installCommand(TFJS_PACKAGES[device]),
  remedies: [NO_ADAPTER, NO_ADDON(TFJS_PACKAGES[device])],
  script: tfjsScript(device),
});

/** What may train and measure models, by the word for it after --device. */
export const trainingEngines: Readonly<Record<TfjsDevice, EngineSpec>> = {
  "tfjs-node-gpu": tfjsEngine("tfjs-node-gpu", "@tensorflow/tfjs-node-gpu (CUDA)"),
  "tfjs-node": tfjsEngine("tfjs-node", "@tensorflow/tfjs-node (TensorFlow on the CPU)"),
  webgpu: tfjsEngine("webgpu", "WebGPU through @tensorflow/tfjs-backend-webgpu"),
};

export const optionalEngines = (threads: number): readonly EngineSpec[] => [blasEngine(threads), webgpuEngine, ...Object.values(trainingEngines)];
