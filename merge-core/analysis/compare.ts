// Compares models tensor by tensor on the compute pool, in bounded memory, and adds tensors up to layers, roles and the whole.
import type { Checkpoint, TensorEntry } from "../checkpoints/checkpoint.ts";
import { placeOf } from "../checkpoints/tensor-roles.ts";
import type { ComputePool } from "../compute/pool.ts";
import { type OpenTensor, openTensorEngine } from "../compute/tensor-engine.ts";
import { inputError } from "../diagnostics.ts";
import type { FloatDType } from "../formats/dtypes.ts";
import { VERSION } from "../version.ts";
import { type Comparison, EXPLANATIONS, type Group, type LayerGroup, type TensorGroup } from "./comparison.ts";
import { matchModels } from "./match-models.ts";
import { measureTensor } from "./measure-tensor.ts";
import { measuresOf } from "./measures.ts";
import { addSums, noSums, type Sums } from "./sums.ts";
import { TensorsAhead } from "./tensors-ahead.ts";

export interface CompareOptions {
  readonly pool: ComputePool;
  /** What may be used of the pool's memory. */
  readonly memoryBytes: number;
  /** Share of elements per tensor that the previewed trim keeps. */
  readonly density: number;
  /** Compares only tensors whose names it takes. */
  readonly only?: ((name: string) => boolean) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Bytes read of all bytes, and the tensor at work. */
  readonly onProgress?: (done: number, total: number, tensor: string) => void;
}

/** @param base the model whose difference from the others counts; without one only weights are compared @throws WeightsmithError as `matchModels` does; `tensor-missing` */
export async function compareModels(base: Checkpoint | undefined, models: readonly Checkpoint[], options: CompareOptions): Promise<Comparison> {
  const { only = () => true } = options;
  const matched = matchModels(base === undefined ? models : [base, ...models]);
  const tensors = matched.tensors.filter(([entry]) => only(entry?.name ?? ""));
  if (tensors.length === 0 && options.only !== undefined)
    throw inputError("tensor-missing", "no tensor that the models share fits", { remedy: "see weightsmith inspect for the names" });
  const progress = byteProgress(tensors, options);
  const hasBase = base !== undefined;
  const groups = new Groups(hasBase, noSums(models.length, models.length + (hasBase ? 1 : 0)));
  const left = matched.skipped.filter(({ name }) => only(name));
  for await (const { entry, sums } of measureAll(tensors, hasBase, options, progress)) {
    if (sums.gram.flat().every(Number.isFinite)) groups.add(entry, sums);
    else left.push({ name: entry.name, reason: "holds NaN or infinite values" });
  }
  return {
    format: "weightsmith-comparison",
    weightsmith: VERSION,
    ...(hasBase ? { base: base.path } : {}),
    models: models.map((model) => model.path),
    density: options.density,
    ...groups.finish(),
    skipped: left,
    explanations: EXPLANATIONS,
  };
}

/** Tensors that are measured at the same time: while the results of one are put together, threads work on the other. */
const AT_ONCE = 2;

/** In the order of the tensors. While some are measured the next are on their way to memory. */
async function* measureAll(
  tensors: readonly (readonly TensorEntry[])[],
  hasBase: boolean,
  options: CompareOptions,
  onBytes: (bytes: number, tensor: string) => void,
): AsyncGenerator<{ readonly entry: TensorEntry; readonly sums: Sums }> {
  const open = (entries: readonly TensorEntry[], onRead: (bytes: number) => void): OpenTensor =>
    openEntries(entries, options, (bytes, tensor) => {
      onRead(bytes);
      onBytes(bytes, tensor);
    });
  const ahead = new TensorsAhead(tensors, open, options.memoryBytes / (AT_ONCE + 1));
  const measuring: Promise<Sums>[] = [];
  try {
    for (const [at, entries] of tensors.entries()) {
      while (measuring.length < Math.min(AT_ONCE, tensors.length - at)) {
        const sums = measureNext(ahead, hasBase, options.density);
        // It may fail while another tensor is waited for.
        sums.catch(() => undefined);
        measuring.push(sums);
      }
      yield { entry: entries[0] as TensorEntry, sums: await (measuring[0] as Promise<Sums>) };
      measuring.shift();
    }
  } finally {
    await Promise.allSettled(measuring);
    await ahead.close();
  }
}

async function measureNext(ahead: TensorsAhead, hasBase: boolean, density: number): Promise<Sums> {
  const engine = await ahead.next();
  try {
    return await measureTensor(engine, hasBase, density);
  } finally {
    ahead.begin();
    engine.close();
  }
}

/** A tensor that is measured may use as much memory as all that come next. */
function openEntries(
  entries: readonly TensorEntry[],
  { pool, memoryBytes, signal }: CompareOptions,
  onBytes: (bytes: number, tensor: string) => void,
): OpenTensor {
  const { name, shape } = entries[0] as TensorEntry;
  const inputs = entries.map(({ file, offset, dtype }) => ({ file, offset, dtype: dtype as FloatDType }));
  const output = { dtype: "F32" } as const;
  const task = { name, shape, seed: 0, inputs, output, memoryBytes: memoryBytes / (AT_ONCE + 1), signal };
  return openTensorEngine(pool, { ...task, onBytes: (bytes) => onBytes(bytes, name) });
}

/** Reports bytes of the files as they are read; passes over a tensor that is read again add nothing. */
function byteProgress(tensors: readonly (readonly TensorEntry[])[], { onProgress }: CompareOptions): (bytes: number, tensor: string) => void {
  const sizes = new Map(tensors.map((entries) => [entries[0]?.name ?? "", entries.reduce((sum, { byteLength }) => sum + byteLength, 0)]));
  const total = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
  let done = 0;
  return (bytes, tensor) => {
    const counted = Math.min(bytes, sizes.get(tensor) ?? 0);
    sizes.set(tensor, (sizes.get(tensor) ?? 0) - counted);
    done += counted;
    onProgress?.(done, total, tensor);
  };
}

interface LayerSums {
  readonly name: string;
  readonly layer: number;
  sums: Sums;
  readonly roles: Map<string, Sums>;
}

/** Adds tensors up to groups as they come; what is kept does not grow with the tensors but for their measures. */
class Groups {
  readonly #hasBase: boolean;
  readonly #nothing: Sums;
  #total: Sums;
  readonly #roles = new Map<string, Sums>();
  readonly #layers = new Map<string, LayerSums>();
  readonly #tensors: TensorGroup[] = [];

  constructor(hasBase: boolean, nothing: Sums) {
    this.#hasBase = hasBase;
    this.#nothing = nothing;
    this.#total = nothing;
  }

  add({ name, shape }: TensorEntry, sums: Sums): void {
    const { role, layer, prefix } = placeOf(name);
    this.#tensors.push({ name, role, ...(layer === undefined ? {} : { layer }), shape, ...measuresOf(sums, this.#hasBase) });
    this.#total = addSums(this.#total, sums);
    this.#addTo(this.#roles, role, sums);
    if (layer === undefined) return;
    const key = `${prefix}.${layer}`;
    const known = this.#layers.get(key) ?? { name: key, layer, sums: this.#nothing, roles: new Map() };
    known.sums = addSums(known.sums, sums);
    this.#addTo(known.roles, role, sums);
    this.#layers.set(key, known);
  }

  finish(): Pick<Comparison, "total" | "roles" | "layers" | "tensors"> {
    const layers = [...this.#layers.values()].sort((a, b) => a.layer - b.layer).map((layer) => this.#layer(layer));
    return { total: measuresOf(this.#total, this.#hasBase), roles: this.#groups(this.#roles), layers: rankByConflict(layers), tensors: this.#tensors };
  }

  #addTo(groups: Map<string, Sums>, key: string, sums: Sums): void {
    groups.set(key, addSums(groups.get(key) ?? this.#nothing, sums));
  }

  #groups(groups: ReadonlyMap<string, Sums>): Group[] {
    return [...groups].map(([name, sums]) => ({ name, ...measuresOf(sums, this.#hasBase) }));
  }

  #layer({ name, layer, sums, roles }: LayerSums): LayerGroup {
    return { name, layer, ...measuresOf(sums, this.#hasBase), roles: this.#groups(roles) };
  }
}

/** Numbers the layers by falling conflict; layers without a rate come last. */
function rankByConflict(layers: readonly LayerGroup[]): LayerGroup[] {
  if (layers.every(({ conflict }) => conflict === undefined)) return [...layers];
  const order = layers.toSorted((a, b) => (b.conflict ?? -1) - (a.conflict ?? -1));
  return layers.map((layer) => ({ ...layer, conflictRank: order.indexOf(layer) + 1 }));
}
