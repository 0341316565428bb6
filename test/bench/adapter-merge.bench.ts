// Merging LoRA adapters of the shapes of a 7B Llama by their factors: time and peak memory of the command, against reading their files once.
//   npm run bench -- adapter-merge [--adapters N] [--rank R]
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { layoutFile } from "../../merge-core/formats/safetensors-write.ts";
import { benchFolder, MIB, makeCheckpoint } from "./files.ts";

const LAYERS = 32;
/** Rows and columns of each projection: hidden size 4096, intermediate size 11008. */
const PROJECTIONS: Readonly<Record<string, readonly [number, number]>> = {
  "self_attn.q_proj": [4096, 4096],
  "self_attn.k_proj": [4096, 4096],
  "self_attn.v_proj": [4096, 4096],
  "self_attn.o_proj": [4096, 4096],
  "mlp.gate_proj": [11008, 4096],
  "mlp.up_proj": [11008, 4096],
  "mlp.down_proj": [4096, 11008],
};
/** Promised of the sum itself, and the memory of both. */
const LIMITS = { seconds: 10, bytes: 1e9 };

/** An adapter as PEFT writes it, of bf16 numbers as in trained weights. @returns the file's size */
function writeAdapter(folder: string, rank: number, seed: number): number {
  mkdirSync(folder);
  const config = { peft_type: "LORA", r: rank, lora_alpha: 2 * rank, target_modules: Object.keys(PROJECTIONS).map((name) => name.split(".")[1]) };
  writeFileSync(join(folder, "adapter_config.json"), JSON.stringify(config));
  const tensors = Array.from({ length: LAYERS }, (_, layer) =>
    Object.entries(PROJECTIONS).flatMap(([name, [rows, columns]]) => {
      const module = `base_model.model.model.layers.${layer}.${name}`;
      return [
        { name: `${module}.lora_A.weight`, dtype: "BF16" as const, shape: [rank, columns] },
        { name: `${module}.lora_B.weight`, dtype: "BF16" as const, shape: [rows, rank] },
      ];
    }),
  ).flat();
  const { header, sizeBytes } = layoutFile(tensors);
  const file = join(folder, "adapter_model.safetensors");
  makeCheckpoint(file, seed, (sizeBytes - header.byteLength) / MIB, Uint8Array.from(header));
  truncateSync(file, sizeBytes);
  return sizeBytes;
}

/** Makes the program say at its end what memory it took at most, in KiB. */
const TELL_PEAK = 'data:text/javascript,process.on("exit",()=>process.stderr.write("peak:"+process.resourceUsage().maxRSS))';

/** @throws Error with what the program said, if it fails */
function measureMerge(argv: readonly string[]): { readonly seconds: number; readonly peakBytes: number } {
  const start = performance.now();
  const words = ["--import", TELL_PEAK, "dist/weightsmith.js", "adapter", "merge", ...argv, "--quiet", "--overwrite"];
  const { stderr, status } = spawnSync(process.execPath, words, { encoding: "utf8" });
  const peak = /peak:(\d+)$/.exec(stderr)?.[1];
  if (status !== 0 || peak === undefined) throw new Error(stderr);
  return { seconds: (performance.now() - start) / 1000, peakBytes: Number(peak) * 1024 };
}

const { values } = parseArgs({ options: { adapters: { type: "string", default: "8" }, rank: { type: "string", default: "16" } } });
const [count, rank] = [Number(values.adapters), Number(values.rank)];
const root = benchFolder();
const folders = Array.from({ length: count }, (_, i) => join(root, `adapter-${i}`));
const bytes = folders.reduce((sum, folder, i) => sum + writeAdapter(folder, rank, i + 1), 0);
const start = performance.now();
for (const folder of folders) for (const file of readdirSync(folder)) readFileSync(join(folder, file));
const read = (performance.now() - start) / 1000;
console.log(`${count} LoRA adapters of rank ${rank}, shapes of a 7B Llama, ${(bytes / MIB).toFixed(0)} MiB; reading them: ${read.toFixed(2)} s`);
console.log("| result | time | peak memory |\n| --- | --- | --- |");
const ways = { [`rank ${count * rank}, exact`]: [], [`rank ${rank}, nearest to the sum`]: ["--rank", String(rank)] };
for (const [name, options] of Object.entries(ways)) {
  const { seconds, peakBytes } = measureMerge([...folders, "-o", join(root, "merged"), ...options]);
  console.log(`| ${name} | ${seconds.toFixed(1)} s | ${(peakBytes / MIB).toFixed(0)} MiB |`);
  if ((options.length === 0 && seconds > LIMITS.seconds) || peakBytes > LIMITS.bytes) process.exitCode = 1;
}
process.exit();
