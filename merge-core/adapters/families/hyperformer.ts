// HyperFormer++ (Mahabadi et al., 2021): one hypernetwork, shared by all layers and tasks, writes the bottleneck adapters: each
// comes from the embeddings of its task, its layer and its place in the layer.
import { type Algebra, gelu } from "../algebra/algebra.ts";
import { defineFamily } from "../define-family.ts";
import { indices, nativeType, numberOf, trained } from "../family.ts";
import { indexOf, type Part, part, presentTasks, rowsOfTask } from "../family-math.ts";
import { filled, type Site, type Start, tensor, zeros } from "../family-training.ts";

const EPSILON = 1e-6;

export const hyperformer = defineFamily({
  type: nativeType("hyperformer"),
  title: "HyperFormer",
  paper: { title: "Parameter-efficient Multi-task Fine-tuning for Transformers via Shared Hypernetworks", year: 2021, url: "https://arxiv.org/abs/2106.04489" },
  formula: "y + norm(up gelu(down y)), down, up and the norm written by a network from embeddings of task, layer and place",
  settings: [
    { name: "reduction", default: 32, divides: "outputs", doc: "outputs divided by the width of the bottleneck" },
    { name: "n_tasks", default: 1, count: true, doc: "tasks" },
    { name: "embedding", default: 64, count: true, doc: "length of each embedding" },
    { name: "hidden", default: 128, count: true, doc: "width inside the network" },
    { name: "projected", default: 64, count: true, doc: "width of what adapters are written from" },
  ],
  tensors: indices("hyper_place"),
  shared: trained("hyper_task", "hyper_layer", "hyper_kind", "hyper_w1", "hyper_w2", "hyper_scale", "hyper_down", "hyper_up", "hyper_gamma", "hyper_beta"),
  sharedBy: "model",
  needsBase: false,
  foldable: "no",
  shapes: () => ({ hyper_place: [2] }),
  math: {
    forward(m, p, x, linear, { tasks }) {
      const y = linear(x);
      const rows = m.shapeOf(y)[0] ?? 0;
      const present = presentTasks(tasks);
      return present.reduce((sum, task) => {
        const change = adapted(m, p, y, task);
        return m.add(sum, present.length === 1 ? change : m.mul(change, m.constant(rowsOfTask(tasks, task, rows), [rows, 1])));
      }, y);
    },
  },
  training: {
    start: ({ index, kinds, kind }) => ({ hyper_place: tensor([index, kinds.indexOf(kind)], 2) }),
    startShared,
  },
});

/** The norm's gain and shift start at zero, so that adapters start without effect; a zero up would leave the norm nothing to divide by. */
function startShared(sites: readonly Site[]): Start {
  const [site] = sites;
  if (site === undefined) return {};
  const { settings, random, layer, tasks, kinds } = site;
  const [e, hidden, z] = ["embedding", "hidden", "projected"].map((name) => numberOf(settings, name)) as [number, number, number];
  const d = layer.outFeatures;
  const b = d / numberOf(settings, "reduction");
  const drawn = (name: string, rows: number, columns: number, deviation: number) => tensor(random.normal(name, rows * columns, deviation), rows, columns);
  return {
    hyper_task: drawn("hyper_task", Math.max(tasks, numberOf(settings, "n_tasks")), e, 1),
    hyper_layer: drawn("hyper_layer", Math.max(...sites.map(({ count }) => count)), e, 1),
    hyper_kind: drawn("hyper_kind", kinds.length, e, 1),
    hyper_w1: drawn("hyper_w1", hidden, 3 * e, 1 / Math.sqrt(3 * e)),
    hyper_w2: drawn("hyper_w2", z, hidden, 1 / Math.sqrt(hidden)),
    hyper_scale: filled(1, z),
    hyper_down: drawn("hyper_down", b * d, z, 1 / Math.sqrt(z * d)),
    hyper_up: drawn("hyper_up", d * b, z, 1 / Math.sqrt(z * b)),
    hyper_gamma: zeros(d, z),
    hyper_beta: zeros(d, z),
  };
}

/** norm(up gelu(down y)) with the weights that the network writes for the module and task. */
function adapted<T>(m: Algebra<T>, p: Part<T>, y: T, task: number): T {
  const d = p.layer.outFeatures;
  const b = d / numberOf(p.settings, "reduction");
  const code = written(m, p, task);
  const head = (name: string, ...shape: readonly number[]) => m.reshape(m.matMul(code, part(p, name), { transposeB: true }), shape);
  const inner = gelu(m, m.matMul(y, head("hyper_down", b, d), { transposeB: true }));
  const up = m.matMul(inner, head("hyper_up", d, b), { transposeB: true });
  return m.add(m.mul(layerNorm(m, up), head("hyper_gamma", 1, d)), head("hyper_beta", 1, d));
}

/** What the adapters' weights are written from [1, projected]. */
function written<T>(m: Algebra<T>, p: Part<T>, task: number): T {
  const place = indexOf(p, "hyper_place");
  const parts = [
    m.rows(part(p, "hyper_task"), [task]),
    m.rows(part(p, "hyper_layer"), [place[0] as number]),
    m.rows(part(p, "hyper_kind"), [place[1] as number]),
  ];
  const hidden = m.relu(m.matMul(m.concat(parts, 1), part(p, "hyper_w1"), { transposeB: true }));
  const scale = part(p, "hyper_scale");
  return m.mul(layerNorm(m, m.matMul(hidden, part(p, "hyper_w2"), { transposeB: true })), m.reshape(scale, [1, m.shapeOf(scale)[0] ?? 0]));
}

/** Rows of mean zero and variance one. */
function layerNorm<T>(m: Algebra<T>, x: T): T {
  const n = m.shapeOf(x)[1] ?? 1;
  const centred = m.sub(x, m.scale(m.sum(x, 1), 1 / n));
  const variance = m.scale(m.sum(m.mul(centred, centred), 1), 1 / n);
  return m.div(centred, m.sqrt(m.add(variance, m.constant([EPSILON], [1]))));
}
