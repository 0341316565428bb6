// torch on the GPU that is measured: python3, or the Python that WEIGHTSMITH_PEER_PYTHON names. `BENCH_TORCH_DEVICE=cpu` tries the scripts
// on a machine without a GPU.
import { spawnSync } from "node:child_process";

export interface Torch {
  readonly python: string;
  readonly device: string;
}

export interface TorchFigures {
  readonly name: string;
  /** Seconds by side. */
  readonly figures: ReadonlyMap<number, { readonly product: number; readonly iso: number; readonly tsv: number }>;
}

/** Or why there is none. */
export function findTorch(): Torch | string {
  const device = process.env.BENCH_TORCH_DEVICE ?? "cuda";
  const named = process.env.WEIGHTSMITH_PEER_PYTHON;
  const check = `import torch; assert "${device}" != "cuda" or torch.cuda.is_available(), "torch sees no GPU"`;
  let reason = "there is no python3";
  for (const python of named === undefined ? ["python3", "python"] : [named]) {
    const { status, stderr } = spawnSync(python, ["-c", check], { encoding: "utf8" });
    if (status === 0) return { python, device };
    if (status !== null) reason = `${python}: ${stderr.trim().split("\n").at(-1)}`;
  }
  return reason;
}

/** Lines of JSON of a script. @throws Error with the last line of what it says */
export function runPeer<T>(python: string, args: readonly string[]): T[] {
  const { stdout, stderr, status } = spawnSync(python, args, { encoding: "utf8", maxBuffer: 2 ** 26 });
  if (status !== 0) throw new Error(stderr?.trim().split("\n").at(-1) ?? "it did not start");
  return stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line): T => JSON.parse(line));
}

export function mergeFigures({ python, device }: Torch, models: number, sides: readonly number[]): TorchFigures | Error {
  try {
    const args = ["test/bench/peers/gpu_merges.py", device, String(models), ...sides.map(String)];
    const [about, ...found] = runPeer<{ device: string; torch: string; side: number; product: number; iso: number; tsv: number }>(python, args);
    return { name: `torch ${about?.torch} on ${about?.device}, float32`, figures: new Map(found.map((figures) => [figures.side, figures])) };
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
