// `weightsmith share`: ties weights inside of one model. Writes the model whole, so that any program loads it, and beside it each shared
// weight once, with what uses it. Node only.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openFile } from "../bytes/file-source.ts";
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { openCheckpoint } from "../checkpoints/open-checkpoint.ts";
import { TensorReader } from "../checkpoints/tensor-reader.ts";
import type { Diagnostic } from "../diagnostics.ts";
import { narrowFromFloat32 } from "../formats/dtype-codecs.ts";
import { elementCount, type FloatDType } from "../formats/dtypes.ts";
import type { TensorSpec } from "../formats/safetensors-write.ts";
import { extractAdapter } from "../run/extract-adapter.ts";
import { scratchTensors, writeScratch } from "../run/scratch-tensors.ts";
import { writeModel } from "../run/write-model.ts";
import { findAttention, type HeadTensor, type Projection, placesOf, stretches, unsupported } from "./attention.ts";
import { chooseShared, MATCHES, type SharedUnit, takeStretch } from "./directshare.ts";
import { type Atoms, findAtoms, mixRows, reconstruction, Stack } from "./masa.ts";
import { type Place, putRows, type Stretch, sidesOf, wholeTensor } from "./places.ts";
import { type Start, tieLayers } from "./recursive.ts";

export const SHARE_METHOD = "share";
export const SHARE_FILE = "share.json";
/** Out of the way of programs that load every file of tensors in the folder. */
export const COMPACT_FILE = "compact.tensors";
export const ADAPTER_FOLDER = "adapter";

export type ShareSettings =
  | { readonly method: "directshare"; readonly rate: number; readonly match: string; readonly chase: boolean }
  | { readonly method: "masa"; readonly atoms: number | undefined; readonly projections: readonly Projection[] }
  | { readonly method: "recursive"; readonly loops: number; readonly start: Start | undefined; readonly rank: number };

export interface ShareRequest {
  readonly model: Checkpoint;
  readonly out: string;
  readonly settings: ShareSettings;
  readonly overwrite?: boolean;
  readonly shardBytes?: number | undefined;
  readonly threads?: number;
  readonly memoryBytes?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (stage: string, done: number, total: number, unit: "items" | "bytes", detail: string) => void;
}

export interface ShareReport {
  readonly method: ShareSettings["method"];
  /** Of the whole model; stored once each and with what an adapter adds. */
  readonly parameters: { readonly before: number; readonly after: number };
  /** What is shared, as the method has it. */
  readonly shared: Readonly<Record<string, unknown>>;
}

/** How a method makes tensors, and what it stores once. */
interface Sharing {
  /** Values of a tensor, or undefined if it stays. */
  make(entry: TensorEntry): Promise<Float32Array | undefined>;
  readonly compact: readonly TensorSpec[];
  parts(): AsyncGenerator<Uint8Array>;
  /** Parameters of the tensors that `make` makes, once all are stored compactly. */
  readonly compactParameters: number;
  readonly madeParameters: number;
  readonly shared: Readonly<Record<string, unknown>>;
}

/** @throws WeightsmithError `share-unsupported`, `non-finite`, `output-*`, `cancelled` */
export async function share(request: ShareRequest): Promise<ShareReport & { readonly out: string; readonly warnings: readonly Diagnostic[] }> {
  const { model, out, settings, signal, onProgress } = request;
  const reader = new TensorReader();
  const total = [...model.tensors.values()].reduce((sum, { shape }) => sum + elementCount(shape), 0);
  try {
    const sharing = await METHODS[settings.method](request, reader);
    const make = async (entry: TensorEntry) => {
      const values = await sharing.make(entry);
      return values === undefined ? readBytes(entry) : narrowFromFloat32(entry.dtype as FloatDType, values);
    };
    let report: ShareReport | undefined;
    const write = {
      method: SHARE_METHOD,
      settings: { share: model.path, ...settings },
      seed: 0,
      models: [model] as const,
      out,
      overwrite: request.overwrite ?? false,
    };
    const progress = (done: number, bytes: number, tensor: string) => onProgress?.("share", done, bytes, "bytes", tensor);
    const warnings = await writeModel({ ...write, shardBytes: request.shardBytes, signal, onProgress: progress }, make, async (folder) => {
      await writeScratch(scratchTensors(join(folder, COMPACT_FILE), settings.method, sharing.compact), sharing.parts());
      const relaxed = settings.method === "recursive" && settings.rank > 0 ? await relax(request, settings.rank, folder) : undefined;
      const after = total - sharing.madeParameters + sharing.compactParameters + (relaxed?.parameters ?? 0);
      report = {
        method: settings.method,
        parameters: { before: total, after },
        shared: { ...sharing.shared, ...(relaxed === undefined ? {} : { adapter: relaxed }) },
      };
      await writeFile(join(folder, SHARE_FILE), `${JSON.stringify(report, null, 1)}\n`);
    });
    return { ...(report as unknown as ShareReport), out, warnings };
  } finally {
    await reader.close();
  }
}

type Method = (request: ShareRequest, reader: TensorReader) => Promise<Sharing>;

const METHODS: Readonly<Record<ShareSettings["method"], Method>> = { directshare, masa, recursive };

async function readBytes({ file, offset, byteLength }: TensorEntry): Promise<Uint8Array> {
  const source = await openFile(file);
  try {
    return await source.read(offset, byteLength);
  } finally {
    await source.close();
  }
}

const count = (entries: Iterable<{ readonly shape: readonly number[] }>): number => [...entries].reduce((sum, { shape }) => sum + elementCount(shape), 0);

async function directshare({ model, settings, signal, onProgress }: ShareRequest, reader: TensorReader): Promise<Sharing> {
  if (settings.method !== "directshare") throw new TypeError("settings of another method");
  const attention = findAttention(model);
  const { layers, kvHeads } = attention;
  const onLayer = (done: number, all: number) => onProgress?.("compare heads", done, all, "items", `layer ${done}`);
  const { shared, similarity } = await chooseShared(attention, {
    rate: settings.rate,
    match: MATCHES[settings.match] ?? [],
    chase: settings.chase,
    signal,
    onLayer,
  });
  const replaced = (layer: number, unit: number): SharedUnit | undefined => shared.find((pair) => pair.layer === layer && pair.unit === unit);
  const needed = (layer: number, unit: number) => replaced(layer, unit) === undefined || shared.some(({ from }) => from.layer === layer && from.unit === unit);
  const stored = layers.map((_, layer) => Array.from({ length: kvHeads }, (_, unit) => unit).filter((unit) => needed(layer, unit)));
  const places = new Map(layers.flatMap(({ tensors }, layer) => tensors.map((tensor) => [tensor.entry.name, { layer, tensor }] as const)));
  const stretchesOf = (tensor: HeadTensor, units: readonly number[]): Stretch[] => {
    const byUnit = units.map((unit) => stretches(attention, tensor, unit));
    return tensor.parts.flatMap((_, part) => byUnit.map((own) => own[part] as Stretch));
  };
  const compact = [...places.values()].map(({ layer, tensor: { entry, alongColumns }, tensor }) => {
    const size = stretchesOf(tensor, stored[layer] ?? []).reduce((sum, [, length]) => sum + length, 0);
    return { name: entry.name, dtype: entry.dtype, shape: alongColumns ? [entry.shape[0] ?? 0, size] : [size, ...entry.shape.slice(1)] };
  });
  return {
    async make({ name }) {
      const place = places.get(name);
      if (place === undefined || !shared.some(({ layer }) => layer === place.layer)) return undefined;
      const { layer, tensor } = place;
      const values = Float32Array.from(await reader.read(tensor.entry));
      for (const { unit, from } of shared.filter((one) => one.layer === layer)) {
        const other = layers[from.layer]?.tensors.find((one) => one.name === tensor.name);
        if (other === undefined) throw unsupported(model, name);
        const source = await reader.read(other.entry);
        const targets = stretches(attention, tensor, unit);
        for (const [part, at] of stretches(attention, other, from.unit).entries())
          putStretch(values, tensor, targets[part] as Stretch, takeStretch(source, tensor.columns, tensor.alongColumns, at));
      }
      return values;
    },
    compact,
    async *parts() {
      for (const { layer, tensor } of places.values()) {
        const values = await reader.read(tensor.entry);
        yield narrowFromFloat32(tensor.entry.dtype as FloatDType, sideBySide(values, tensor, stretchesOf(tensor, stored[layer] ?? [])));
      }
    },
    compactParameters: count(compact),
    madeParameters: count([...places.values()].map(({ tensor }) => tensor.entry)),
    shared: { layers: layers.map(({ prefix }, layer) => ({ prefix, stored: stored[layer] })), units: kvHeads, pairs: shared, similarity },
  };
}

type Matrix = Pick<HeadTensor, "columns" | "alongColumns">;

function putStretch(values: Float32Array, { columns, alongColumns }: Matrix, [first, size]: Stretch, taken: Float32Array): void {
  if (!alongColumns) values.set(taken, first * columns);
  else for (let i = 0; i * size < taken.length; i++) values.set(taken.subarray(i * size, (i + 1) * size), i * columns + first);
}

/** Several stretches side by side. */
function sideBySide(values: ArrayLike<number>, { columns, alongColumns }: Matrix, pieces: readonly Stretch[]): Float32Array {
  const width = pieces.reduce((sum, [, size]) => sum + size, 0);
  const joined = new Float32Array(alongColumns ? (values.length / columns) * width : width * columns);
  let first = 0;
  for (const piece of pieces) {
    putStretch(joined, { columns: alongColumns ? width : columns, alongColumns }, [first, piece[1]], takeStretch(values, columns, alongColumns, piece));
    first += piece[1];
  }
  return joined;
}

async function masa({ model, settings, signal, onProgress }: ShareRequest, reader: TensorReader): Promise<Sharing> {
  if (settings.method !== "masa") throw new TypeError("settings of another method");
  const attention = findAttention(model);
  const { layers } = attention;
  const atoms = Math.min(layers.length, settings.atoms ?? Math.max(1, Math.round(layers.length / 3)));
  const found: ({ projection: Projection; places: readonly Place[] } & Atoms)[] = [];
  for (const [done, projection] of settings.projections.entries()) {
    onProgress?.("find atoms", done, settings.projections.length, "items", `${projection}_proj`);
    const places = placesOf(attention, projection);
    found.push({ projection, places, ...(await findAtoms(places, atoms, signal)) });
  }
  const specs = found.map(({ projection, places, mixing }) => {
    const [first] = places as readonly [Place];
    return { name: `${projection}_proj.atoms`, dtype: first.entry.dtype, shape: [mixing.length, ...sidesOf(first)] } as const;
  });
  return {
    async make(entry) {
      const own = found.flatMap((one) => {
        const layer = one.places.findIndex((place) => place.entry === entry);
        return layer < 0 ? [] : [{ ...one, layer }];
      });
      if (own.length === 0) return undefined;
      const values = Float32Array.from(await reader.read(entry));
      for (const { layer, places, ...rest } of own)
        for await (const { mixed, first } of mixedRows(places, [reconstruction(rest, layer)], signal))
          putRows(places[layer] as Place, values, first, mixed[0] as Float32Array);
      return values;
    },
    compact: specs,
    async *parts() {
      for (const { places, mixing } of found)
        for (const atom of mixing)
          for await (const { mixed } of mixedRows(places, [atom], signal))
            yield narrowFromFloat32(places[0]?.entry.dtype as FloatDType, mixed[0] as Float32Array);
    },
    compactParameters: count(specs) + found.reduce((sum, { mixing }) => sum + mixing.length * layers.length, 0),
    madeParameters: found.reduce((sum, { places }) => sum + count(places.map((place) => ({ shape: sidesOf(place) }))), 0),
    shared: {
      layers: layers.map(({ prefix }) => prefix),
      projections: found.map(({ projection, mixing, coefficients, relativeError, places }) => ({
        projection,
        ...lies(places, layers[0]?.prefix ?? ""),
        ...{ atoms: mixing.length, relativeError, coefficients },
      })),
    },
  };
}

/** In which tensor of a layer a projection lies, and in which stretches of it where others do too. */
function lies([first]: readonly Place[], prefix: string): Readonly<Record<string, unknown>> {
  if (first === undefined) return {};
  const { entry, alongColumns, stretches } = first;
  const isWhole = count([entry]) === count([{ shape: sidesOf(first) }]);
  return { tensor: entry.name.slice(prefix.length + 1), ...(isWhole ? {} : { [alongColumns ? "columns" : "rows"]: stretches }) };
}

async function* mixedRows(places: readonly Place[], weights: readonly (readonly number[])[], signal: AbortSignal | undefined): ReturnType<typeof mixRows> {
  const stack = new Stack(places, signal);
  try {
    yield* mixRows(stack, weights);
  } finally {
    await stack.close();
  }
}

async function recursive({ model, settings, signal }: ShareRequest): Promise<Sharing> {
  if (settings.method !== "recursive") throw new TypeError("settings of another method");
  // As the paper found: means suit a start that adapters correct, single layers one that stays as it is.
  const start = settings.start ?? (settings.rank > 0 ? "average" : "stepwise");
  const { layers, blocks, sources, matrices } = tieLayers(model, settings.loops, start);
  const weightsOf = (block: number): number[] =>
    Array.from({ length: layers }, (_, l) => ((sources[block] ?? []).includes(l) ? 1 / (sources[block] ?? []).length : 0));
  const block = async (list: readonly TensorEntry[], at: number): Promise<Float32Array> => {
    const values = new Float32Array(elementCount(list[0]?.shape ?? []));
    const used = weightsOf(at);
    const chosen = list.filter((_, l) => used[l] !== 0);
    const places = chosen.map(wholeTensor);
    for await (const { mixed, first } of mixedRows(places, [chosen.map(() => 1 / chosen.length)], signal))
      putRows(places[0] as Place, values, first, mixed[0] as Float32Array);
    return values;
  };
  const tied = [...matrices].flatMap(([rest, list]) => Array.from({ length: blocks }, (_, at) => ({ rest, list, at })));
  const compact = tied.map(({ rest, list, at }) => ({ name: `blocks.${at}.${rest}`, dtype: list[0]?.dtype ?? "F32", shape: list[0]?.shape ?? [] }) as const);
  return {
    async make(entry) {
      const list = [...matrices.values()].find((own) => own.includes(entry));
      return list === undefined ? undefined : block(list, list.indexOf(entry) % blocks);
    },
    compact,
    async *parts() {
      for (const { list, at } of tied) yield narrowFromFloat32(list[0]?.dtype as FloatDType, await block(list, at));
    },
    compactParameters: count(compact),
    madeParameters: count([...matrices.values()].flat()),
    shared: { start, layers, blocks, sources, blockOfLayer: Array.from({ length: layers }, (_, l) => l % blocks), matrices: [...matrices.keys()] },
  };
}

interface Relaxation {
  readonly folder: string;
  readonly rank: number;
  readonly parameters: number;
  readonly relativeError: number;
}

/** A LoRA for every layer, from the truncated decomposition of what tying took away. */
async function relax({ model, out, threads, memoryBytes, signal, onProgress }: ShareRequest, rank: number, folder: string): Promise<Relaxation> {
  const tied = { ...(await openCheckpoint(folder)), path: out };
  const machine = { ...(threads === undefined ? {} : { threads }), ...(memoryBytes === undefined ? {} : { memoryBytes }) };
  const progress = (done: number, total: number, tensor: string) => onProgress?.("adapter", done, total, "bytes", tensor);
  const { parameters, relativeError } = await extractAdapter({
    base: tied,
    model,
    out: join(folder, ADAPTER_FOLDER),
    rank,
    ...machine,
    signal,
    onProgress: progress,
  });
  return { folder: ADAPTER_FOLDER, rank, parameters, relativeError };
}
