// What pages are looked at with: the usual, and what is hard to draw.
import type { Comparison, Measures } from "../../merge-core/analysis/comparison.ts";
import type { CheckpointSummary } from "../../merge-core/checkpoints/describe.ts";
import type { FollowedRun, InspectorState, ParetoState, RunsState, TrainingRun } from "../../webviews/protocol.ts";
import { frontOf, randomFront } from "../helpers/fronts.ts";

/** Numbers between -1 and 1 that repeat. */
const noise = (i: number): number => Math.sin(i * 12.9898) * Math.cos(i * 3.77);

function measures(models: number, seed: number, missing = false): Measures {
  const elements = 1000;
  const change = (i: number) => ({
    ...{ norm: 1 + Math.abs(noise(seed + i)), relativeNorm: 0.1, density: 0.9, keptNorm: 0.6, droppedBySign: 0.1, droppedEnergy: 0.05 },
    quantiles: { p50: 0.001, p90: 0.01, p99: 0.03, max: 0.1 },
  });
  const pairs = Array.from({ length: models }, (_, a) => Array.from({ length: models - a - 1 }, (__, k) => ({ a, b: a + k + 1 }))).flat();
  const value = (x: number) => (missing ? null : x);
  return {
    elements,
    models: Array.from({ length: models }, (_, i) => ({ norm: 40, cosineToBase: 0.99, changes: change(i) })),
    pairs: pairs.map(({ a, b }) => {
      const x = noise(seed + 31 * a + b);
      const changes = {
        cosine: value(x),
        normRatio: value(1 + 0.8 * x),
        conflict: value(0.5 + x / 4),
        support: value(0.9),
        topOverlap: value(0.1),
        topConflict: value(0.4),
        subspace: value(0.5),
      };
      return { a, b, cosine: 0.99, l2: 1, normRatio: 1, changes };
    }),
    signAgreement: value(0.4),
    conflict: value(0.5 + noise(seed) / 5),
    signCounts: Array.from({ length: 2 * models + 1 }, (_, i) => Math.round(500 * Math.exp(-(((i - models) / models || 0) ** 2)))),
  };
}

const tally = (tensors: number, parameters: number) => ({ tensors, parameters, bytes: 2 * parameters });

/** A checkpoint of so many layers of six tensors. */
function checkpointOf(layers: number, options: { path?: string; more?: Partial<CheckpointSummary> } = {}): InspectorState {
  const { path = "/models/llama-8b", more = {} } = options;
  const parts: readonly [string, string, readonly number[]][] = [
    ["self_attn.q_proj", "attention", [4096, 4096]],
    ["self_attn.k_proj", "attention", [1024, 4096]],
    ["mlp.gate_proj", "mlp", [14336, 4096]],
    ["mlp.up_proj", "mlp", [14336, 4096]],
    ["mlp.down_proj", "mlp", [4096, 14336]],
    ["input_layernorm", "norm", [4096]],
  ];
  const of = (name: string, role: string, shape: readonly number[], layer?: number) => ({
    ...{ name, dtype: "BF16", shape, bytes: 2 * shape.reduce((a, b) => a * b, 1), role },
    ...(layer === undefined ? {} : { layer }),
  });
  const inLayers = Array.from({ length: layers }, (_, layer) =>
    parts.map(([part, role, shape]) => of(`model.layers.${layer}.${part}.weight`, role, shape, layer)),
  );
  const tensors = [of("model.embed_tokens.weight", "embedding", [128256, 4096]), ...inLayers.flat(), of("lm_head.weight", "head", [128256, 4096])];
  const elements = (role: string) => tensors.filter((tensor) => tensor.role === role).reduce((sum, { bytes }) => sum + bytes / 2, 0);
  const roles = [...new Set(tensors.map(({ role }) => role))];
  const all = tally(
    tensors.length,
    roles.reduce((sum, role) => sum + elements(role), 0),
  );
  const summary: CheckpointSummary = {
    ...{ path, parameters: all.parameters, bytes: all.bytes, tensors, layers, packed: [], byDtype: { BF16: all } },
    shards: [{ file: `${path}/model.safetensors`, bytes: all.bytes, metadata: { format: "pt" } }],
    byRole: Object.fromEntries(roles.map((role) => [role, tally(tensors.filter((tensor) => tensor.role === role).length, elements(role))])),
    config: { architectures: ["LlamaForCausalLM"], hidden_size: 4096 },
    sideFiles: ["config.json", "tokenizer.json"],
    ...more,
  };
  return { kind: "checkpoint", summary };
}

export const INSPECTORS = {
  usual: checkpointOf(32),
  "no layers": checkpointOf(0, { more: { config: undefined, packed: ["gptq or awq"] } }),
  "long names": checkpointOf(2, { path: `/models/${"very-long-name-".repeat(13)}` }),
  problem: {
    kind: "problem",
    path: "/models/broken.safetensors",
    diagnostics: [
      {
        code: "safetensors-truncated",
        severity: "error",
        message: "the file ends too early",
        found: "12 bytes",
        expected: "4 kB",
        remedy: "download it again",
      },
    ],
  } satisfies InspectorState,
};

const ROLES = ["attention", "mlp", "norm"];

interface ComparisonOptions {
  readonly names?: (i: number) => string;
  readonly missing?: boolean;
  readonly roles?: readonly string[];
}

/** A comparison of any size. */
export function comparisonOf(models: number, layers: number, options: ComparisonOptions = {}): Comparison {
  const { names = (i) => `/models/expert-${i + 1}`, missing = false, roles = ROLES } = options;
  const tensors = Array.from({ length: layers }, (_, layer) =>
    roles.map((role, k) => ({ name: `model.layers.${layer}.${role}.weight`, role, layer, shape: [10, 100], ...measures(models, 7 * layer + k, missing) })),
  ).flat();
  return {
    format: "weightsmith-comparison",
    weightsmith: "0.0.0",
    base: "/models/base",
    models: Array.from({ length: models }, (_, i) => names(i)),
    density: 0.2,
    total: measures(models, 3, missing),
    roles: roles.map((name, k) => ({ name, ...measures(models, 100 + k, missing) })),
    layers: Array.from({ length: layers }, (_, layer) => ({
      ...{ name: `model.layers.${layer}`, layer, ...measures(models, layer, missing) },
      roles: roles.map((name, k) => ({ name, ...measures(models, 7 * layer + k, missing) })),
    })),
    tensors,
    ...(models > 2 ? { merges: [models - 1] } : {}),
    spectra: tensors.slice(0, 1).map(({ name }) => ({
      tensor: name,
      pairs: Array.from({ length: Math.max(0, models - 1) }, (_, i) => ({
        ...{ a: i, b: i + 1, subspace: missing ? null : 0.7, subspaceReverse: 0.6, angles: missing ? [] : [10, 40, 80], overlap: missing ? null : 0.4 },
      })),
      models: Array.from({ length: models }, (_, i) => ({
        singularValues: Array.from({ length: 32 }, (__, k) => 2 * Math.exp(-k / (4 + i))),
        effectiveRank: 12 + i,
        stableRank: 4,
      })),
    })),
    spectraSkipped: [{ name: "model.norm.weight", reason: "has 1 dimension; only matrices have singular values" }],
    activations: {
      data: ["math.jsonl"],
      positions: 1024,
      layers: Array.from({ length: layers + 1 }, (_, layer) => ({
        name: layer === 0 ? "embedding" : `model.layers.${layer - 1}`,
        pairs: Array.from({ length: Math.min(models, 12) }, (__, b) => ({ a: b - 1, b, cka: 0.95, ckaDebiased: missing ? null : 0.9 + noise(layer + b) / 20 })),
      })),
    },
    skipped: [{ name: "lm_head.weight", reason: "not in all models" }],
    explanations: [{ measure: "cosine", meaning: "Angle between weights.", source: { title: "A paper", url: "https://example.org" } }],
  };
}

const long = (i: number): string => `/models/${String(i).repeat(3)}-${"very-long-name-".repeat(13)}`;

const state = (comparison: Comparison) => ({ comparison, key: "0".repeat(32), methods: ["linear", "ties"] });

export const COMPARISONS = {
  usual: state(comparisonOf(4, 12)),
  "no models": state(comparisonOf(0, 0)),
  "one model": state(comparisonOf(1, 4)),
  "40 models": state(comparisonOf(40, 2)),
  "200 layers": state(comparisonOf(3, 200)),
  "5,200 cells": state(comparisonOf(2, 200, { roles: Array.from({ length: 25 }, (_, i) => `role_${i + 1}_proj`) })),
  "missing numbers": state(comparisonOf(3, 4, { missing: true })),
  "long names": state(comparisonOf(3, 4, { names: long })),
};

const front = (file: ReturnType<typeof frontOf>, running = false): ParetoState => ({ kind: "front", file, name: "search/pareto.json", running });
const plain = frontOf([[0.4, 0.6]], ["maximize", "minimize"]);

export const FRONTS = {
  usual: front(randomFront(80, 3), true),
  "10,000 points": front(randomFront(10_000, 3)),
  "one point": front(plain),
  "no points": front({ ...plain, points: [], knee: null, hypervolume: 0 }),
  "one objective": front(frontOf([[0.4], [0.6]], ["maximize"])),
  "missing numbers": front({
    ...plain,
    points: plain.points.map((point) => ({ ...point, values: [null, null], evaluated: false, onFront: false })),
    knee: null,
  }),
  "long names": front({ ...plain, objectives: plain.objectives.map((objective, i) => ({ ...objective, name: `${i}-${"objective-".repeat(20)}` })) }),
  problem: {
    kind: "problem",
    path: "/search/pareto.json",
    diagnostics: [{ code: "front-invalid", severity: "error", message: "not the result of a search", file: "/search/pareto.json" }],
  } satisfies ParetoState,
};

function training(
  name: string,
  steps: number,
  value: (step: number) => number = (step) => 3 * Math.exp(-step / 80) + 0.2 * Math.abs(noise(step)),
): TrainingRun {
  const records = Array.from({ length: steps }, (_, i) => ({
    ...{ step: i + 1, loss: value(i), lr: 1e-3 * (1 - i / steps), gradNorm: 1 + Math.abs(noise(i)), tokensPerSecond: 900 + 50 * noise(i) },
    ...(i % 50 === 49 ? { validationLoss: value(i) + 0.3 } : {}),
  }));
  const factor = (module: string, letter: string) => ({ name: `base_model.model.model.layers.0.${module}.lora_${letter}.weight`, shape: [8, 64] });
  return { name, log: `/runs/${name}/training-log.jsonl`, records, running: false, tensors: [factor("self_attn.q_proj", "A"), factor("mlp.up_proj", "A")] };
}

const run: FollowedRun = {
  ...{ id: "1", title: "merge ties", status: "running", text: "merge 42 %, 1.2 GiB of 3.0 GiB, 12 s left", unit: "bytes", fraction: 0.42 },
  ...{ detail: "model.layers.3.mlp.up_proj.weight", shard: { file: "model-00002-of-00005.safetensors", number: 2, count: 5 }, diagnostics: [] },
  samples: Array.from({ length: 80 }, (_, i) => ({ seconds: i / 2, done: 3e7 * i, bytesRead: 9e7 * i, values: 4.5e7 * i })),
};
const runs = (trainings: readonly TrainingRun[], list: readonly FollowedRun[]): RunsState => ({ trainings, runs: list, logs: [] });

export const RUNS = {
  usual: runs(
    [training("math-lora", 300), training("code-lora", 200)],
    [
      run,
      {
        ...run,
        id: "2",
        status: "failed",
        text: "failed: out of memory",
        samples: [],
        diagnostics: [{ code: "x", severity: "error", message: "out of memory", remedy: "use less" }],
      },
    ],
  ),
  nothing: runs([], []),
  "one step": runs([training("short", 1)], []),
  "missing numbers": runs([training("diverged", 40, () => Number.NaN)], []),
  "40 runs": runs(
    Array.from({ length: 40 }, (_, i) => training(`run-${i}`, 60)),
    [],
  ),
  "long names": runs([training("very-long-name-".repeat(14), 60)], [{ ...run, title: `merge ${"very-long-name-".repeat(14)}` }]),
};
