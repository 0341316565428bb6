// The optional engines and how each is tried: load it, multiply two matrices whose product is known, time a larger product.
import { installCommand } from "./find-package.ts";
import { TFJS_PACKAGES, type TfjsDevice } from "./load-tfjs.ts";
import { FIGURE_UNIT } from "./measure.ts";
import type { EngineSpec } from "./probe.ts";

/** Loaded as training would load it; the program lies beside the bundle. */
const LOADER = JSON.stringify(new URL("./load-tfjs.js", import.meta.url).href);

/** The check, and the timing of a product: a device is as fast as it is on what takes it a while, so that the side grows until then. */
const tfjsScript = (device: TfjsDevice) => `
const { loadTfjs } = await import(${LOADER});
const { tf, version, device, memoryBytes } = await loadTfjs(${JSON.stringify(device)});
// Reading one number waits for all, without the way back of the rest.
const square = async (x, read) => {
  const product = tf.matMul(x, x);
  const one = read(product);
  const values = await one.data();
  for (const tensor of new Set([product, one])) tensor.dispose();
  return values;
};
const values = await square(tf.tensor2d([1, 2, 3, 4], [2, 2]), (x) => x);
if ([7, 10, 15, 22].some((v, i) => Math.abs(v - values[i]) > 1e-4)) throw new Error("wrong product: " + Array.from(values).slice(0, 4).join(", "));
let figure = 0;
for (let n = 512, each = 0; each < 20 && n <= 4096; n *= 2) {
  const large = tf.fill([n, n], 0.5);
  const run = () => square(large, (x) => tf.slice(x, [0, 0], [1, 1]));
  await run();
  const start = performance.now();
  let runs = 0;
  do { await run(); runs++; } while (performance.now() - start < 150);
  each = (performance.now() - start) / runs;
  figure = (2 * n ** 3) / each / 1e6;
  large.dispose();
}
console.log(JSON.stringify({ version, device, figure, unit: ${JSON.stringify(FIGURE_UNIT)}, memoryBytes }));
process.exit(0);`;

/** A program beside the bundle, which does what merges and training do with the engine. */
const program = (name: string): string => `await import(${JSON.stringify(new URL(`./${name}.js`, import.meta.url).href)});`;

export const blasEngine = (threads: number): EngineSpec => ({
  id: "blas",
  title: "BLAS and LAPACK through koffi",
  use: "large matrix products and decompositions, with --device blas or auto",
  install: BLAS_INSTALL[process.platform] ?? "npm install koffi",
  script: `process.argv.push(${JSON.stringify(String(threads))}); ${program("blas-probe")}`,
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
  script: program("gpu-probe"),
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
