// How much of a tensor a thread works on at a time.
import { inputError } from "../diagnostics.ts";
import { DTYPE_BYTES, type FloatDType } from "../formats/dtypes.ts";
import { paddedBytes } from "./passes.ts";
import { BLOCK } from "./reference.ts";

/** What of a task decides its tiles. */
export interface TiledTask {
  readonly name: string;
  readonly inputs: readonly { readonly dtype: FloatDType }[];
  readonly output: { readonly dtype: FloatDType };
  readonly memoryBytes: number;
  readonly tileBytes?: number | undefined;
  readonly deviceBytesPerMs?: number | undefined;
}

/** Small enough that a tile of each of a few inputs stays in the second-level cache; larger ones were measured slower. */
const DEFAULT_TILE_BYTES = 1 << 18;
/** Elements of a tile with masks that are made of values: those, as float32, should stay in the second-level cache. */
const MASK_TILE = 1 << 15;
/** Where rows are so long that tiles would be larger, masks are worked out for ranges of rows instead. */
const MOST_MASK_TILE = 1 << 19;

const inputBytes = ({ inputs }: TiledTask): number => inputs.reduce((sum, { dtype }) => sum + DTYPE_BYTES[dtype], 0);
/** Bytes of an element of all inputs and the output. */
const elementBytes = (task: TiledTask): number => inputBytes(task) + DTYPE_BYTES[task.output.dtype];

/**
 * Elements per tile: the wanted size, halved until the tiles of all threads take at most a quarter of the budget.
 * @throws WeightsmithError `memory-budget`
 */
export function chooseTile(task: TiledTask, size: number, threads: number): number {
  const widths: readonly number[] = task.inputs.map((input) => DTYPE_BYTES[input.dtype]);
  const perElement = elementBytes(task);
  const wanted = Math.floor((task.tileBytes ?? DEFAULT_TILE_BYTES) / Math.max(1, ...widths) / BLOCK) * BLOCK;
  let tile = Math.max(BLOCK, wanted);
  const fits = (): boolean => paddedBytes(Math.min(tile, size) * perElement) * threads <= task.memoryBytes / 4;
  while (tile > BLOCK && !fits()) tile = Math.max(BLOCK, Math.floor(tile / 2 / BLOCK) * BLOCK);
  if (fits()) return tile;
  throw inputError("memory-budget", `the memory budget is too small for tensor ${task.name} with ${task.inputs.length} inputs`, {
    found: `${task.memoryBytes} bytes`,
    expected: `at least ${4 * threads * paddedBytes(BLOCK * perElement)}`,
    remedy: "raise the memory budget or use fewer threads",
  });
}

/**
 * Elements per tile where some float32 vectors are worked out for each, in multiples of `unit`.
 * Undefined if that is more than the cache or the budget should hold.
 */
export function chooseMaskTile(task: TiledTask, size: number, threads: number, unit: number, vectors: number): number | undefined {
  const tile = Math.ceil(MASK_TILE / unit) * unit;
  const bytes = Math.min(tile, size) * (elementBytes(task) + 4 * vectors) * threads;
  return Math.min(tile, size) > MOST_MASK_TILE || bytes > task.memoryBytes / 4 ? undefined : tile;
}

/** What the system has in memory it gives faster; devices that are as fast need no help. */
const DEVICE_BYTES_PER_MS = 2.5e6;

/**
 * Files that give fewer bytes per millisecond are read ahead; undefined unless the budget has room for a second tile of every input, beside float32
 * vectors where some are worked out for each tile.
 */
export function readAheadBelow(task: TiledTask, tile: number, size: number, threads: number, vectors = 0): number | undefined {
  const bytes = paddedBytes(Math.min(tile, size) * (elementBytes(task) + inputBytes(task) + 4 * vectors)) * threads;
  return bytes <= task.memoryBytes / 4 ? (task.deviceBytesPerMs ?? DEVICE_BYTES_PER_MS) : undefined;
}
