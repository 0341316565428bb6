// Mixtures against what mergekit-moe made of the same files (moe_goldens.py): every tensor, and config.json where both say something.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { makeMoe } from "../../merge-core/moe/make-moe.ts";
import { modelOpener } from "../../merge-core/plan/open-model.ts";
import { temporaryFolder } from "../helpers/folders.ts";
import { readTensors, type StoredTensor, valuesOf } from "./read-tensors.ts";

const FOLDER = "test/fixtures/oracles/moe";
/** Drawn by another generator there. */
const GATES = /\.(gate|shared_expert_gate)\.weight$/;
/** Values of config.json that decide what a loader computes. */
const KEYS = [
  ...["architectures", "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "rms_norm_eps"],
  ...["vocab_size", "tie_word_embeddings", "num_local_experts", "num_experts", "n_routed_experts", "n_shared_experts", "num_experts_per_tok"],
  ...["moe_intermediate_size", "shared_expert_intermediate_size", "decoder_sparse_step", "first_k_dense_replace", "moe_layer_freq", "norm_topk_prob"],
  ...["scoring_func", "max_position_embeddings", "rope_parameters", "hidden_act"],
];

describe("Mixtures made by mergekit-moe", () => {
  const names = readdirSync(FOLDER)
    .filter((file) => file.endsWith(".yml"))
    .map((file) => file.slice(0, -4));

  it("are all here", () => assert.equal(names.length, 11));

  for (const name of names) {
    it(`${name}: same tensors and config`, async () => {
      const file = `${FOLDER}/${name}.yml`;
      const folder = temporaryFolder();
      const out = join(folder, "out");
      const place = { open: modelOpener(file), gates: join(folder, "gates"), seed: 0, memoryBytes: 2 ** 28, threads: 1 };
      await makeMoe({ text: readFileSync(file, "utf8"), file, ...place }, { out, threads: 1 });
      const theirs = perExpert(await readTensors(`${FOLDER}/golden/${name}/model.safetensors`));
      const ours = await readTensors(join(out, "model.safetensors"));
      // mergekit writes a head beside an embedding that it is tied to; here the tie does.
      if (name.startsWith("qwen-") && !name.includes("llama")) theirs.delete("lm_head.weight");
      assert.deepEqual([...ours.keys()].sort(), [...theirs.keys()].sort());
      for (const [tensor, expected] of theirs) compareTensor(name, tensor, ours.get(tensor), expected);
      compareConfig(out, name);
    });
  }
});

function compareTensor(name: string, tensor: string, actual: StoredTensor | undefined, expected: StoredTensor): void {
  assert.equal(actual?.dtype, expected.dtype, tensor);
  assert.deepEqual(actual?.shape, expected.shape, tensor);
  const gates = GATES.test(tensor);
  if (gates && /random|uniform/.test(name)) {
    checkDrawn(name, valuesOf(actual));
    return;
  }
  const [a, b] = [valuesOf(actual), valuesOf(expected)];
  const worst = b.reduce((most, x, i) => Math.max(most, Math.abs(x - (a[i] ?? Number.NaN))), 0);
  // Gates come from sums in another order; in bfloat16 those may round the other way.
  assert.ok(worst <= (gates ? (expected.dtype === "BF16" ? 4e-3 : 2e-6) : 0), `${tensor}: ${worst}`);
}

/** 12 numbers for each expert: of the right size, and no two the same. */
function checkDrawn(name: string, values: Float32Array): void {
  assert.equal(new Set(values).size, values.length);
  const most = Math.max(...values.map(Math.abs));
  if (name.includes("uniform")) assert.ok(most <= Math.sqrt(1 / 12) && most > 0.2, `${most}`);
  else assert.ok(most > 0.5 && most < 6, `${most}`);
}

/** mergekit stores Mixtral's experts in one tensor, first the gates' rows and then the up projections'; published checkpoints have them one by one. */
function perExpert(tensors: Map<string, StoredTensor>): Map<string, StoredTensor> {
  const split = new Map<string, StoredTensor>();
  for (const [name, tensor] of tensors) {
    const match = /^(model\.layers\.\d+)\.mlp\.experts\.(gate_up_proj|down_proj)$/.exec(name);
    if (match === null) {
      const router = [...tensors.keys()].some((other) => other.endsWith("experts.gate_up_proj"));
      split.set(router ? name.replace(".mlp.gate.", ".block_sparse_moe.gate.") : name, tensor);
      continue;
    }
    const [experts = 0, rows = 0, columns = 0] = tensor.shape;
    const bytes = tensor.data.byteLength / experts;
    for (let e = 0; e < experts; e++) {
      const data = tensor.data.subarray(e * bytes, (e + 1) * bytes);
      const add = (part: string, shape: number[], from: number, to: number) =>
        split.set(`${match[1]}.block_sparse_moe.experts.${e}.${part}.weight`, { dtype: tensor.dtype, shape, data: data.slice(from, to) });
      if (match[2] === "down_proj") add("w2", [rows, columns], 0, bytes);
      else {
        add("w1", [rows / 2, columns], 0, bytes / 2);
        add("w3", [rows / 2, columns], bytes / 2, bytes);
      }
    }
  }
  return split;
}

function compareConfig(out: string, name: string): void {
  const [ours, theirs] = [join(out, "config.json"), `${FOLDER}/golden/${name}/config.json`].map((file) => JSON.parse(readFileSync(file, "utf8"))) as [
    Record<string, unknown>,
    Record<string, unknown>,
  ];
  for (const key of KEYS) if (key in theirs && theirs[key] !== null) assert.deepEqual(ours[key], theirs[key], key);
}
