// Synthetic checkpoints in the shapes of a Llama: a base and fine-tunes of it, the same bytes for the same seed on any machine.
import { closeSync, copyFileSync, mkdirSync, openSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { layoutFile } from "../../../merge-core/formats/safetensors-write.ts";

export interface Scale {
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly vocabulary: number;
}

export const SCALES: Readonly<Record<string, Scale>> = {
  // Llama-3.2-1B: 1.24 billion parameters, 2.5 GB in bf16; its head is tied to the embedding.
  full: { hidden: 2048, intermediate: 8192, layers: 16, heads: 32, kvHeads: 8, vocabulary: 128256 },
  small: { hidden: 256, intermediate: 1024, layers: 4, heads: 8, kvHeads: 2, vocabulary: 8000 },
};

/** Name and shape of each tensor, in the order in which they are stored. */
function shapesOf({ hidden, intermediate, layers, heads, kvHeads, vocabulary }: Scale): [string, number[]][] {
  const kv = (hidden / heads) * kvHeads;
  const block = (i: number): [string, number[]][] => [
    [`model.layers.${i}.input_layernorm.weight`, [hidden]],
    [`model.layers.${i}.mlp.down_proj.weight`, [hidden, intermediate]],
    [`model.layers.${i}.mlp.gate_proj.weight`, [intermediate, hidden]],
    [`model.layers.${i}.mlp.up_proj.weight`, [intermediate, hidden]],
    [`model.layers.${i}.post_attention_layernorm.weight`, [hidden]],
    [`model.layers.${i}.self_attn.k_proj.weight`, [kv, hidden]],
    [`model.layers.${i}.self_attn.o_proj.weight`, [hidden, hidden]],
    [`model.layers.${i}.self_attn.q_proj.weight`, [hidden, hidden]],
    [`model.layers.${i}.self_attn.v_proj.weight`, [kv, hidden]],
  ];
  const blocks = Array.from({ length: layers }, (_, i) => block(i)).flat();
  return [["model.embed_tokens.weight", [vocabulary, hidden]], ...blocks, ["model.norm.weight", [hidden]]];
}

export const elementsOf = (scale: Scale): number => shapesOf(scale).reduce((sum, [, shape]) => sum + shape.reduce((a, b) => a * b, 1), 0);

function configOf(scale: Scale): object {
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    hidden_size: scale.hidden,
    intermediate_size: scale.intermediate,
    num_hidden_layers: scale.layers,
    num_attention_heads: scale.heads,
    num_key_value_heads: scale.kvHeads,
    vocab_size: scale.vocabulary,
    max_position_embeddings: 8192,
    rms_norm_eps: 1e-5,
    rope_theta: 500000,
    hidden_act: "silu",
    tie_word_embeddings: true,
    torch_dtype: "bfloat16",
  };
}

const TABLE_BITS = 16;

/** Numbers with a normal distribution (Box and Muller 1958), to be drawn from by index. */
function normalTable(deviation: number): Float32Array {
  const table = new Float32Array(1 << TABLE_BITS);
  let state = 12345;
  const uniform = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  return table.map(() => deviation * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
}

const CHUNK = 2 ** 22;

/** A model folder: weights of deviation 0.02, and from seed 1 on changes of a tenth of that; seed 0 is the base itself. */
export function makeModel(folder: string, scale: Scale, seed: number): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), JSON.stringify(configOf(scale), null, 2));
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) copyFileSync(join("media/zoo/base", file), join(folder, file));
  const { header } = layoutFile(
    shapesOf(scale).map(([name, shape]) => ({ name, dtype: "BF16", shape })),
    { format: "pt" },
  );
  const fd = openSync(join(folder, "model.safetensors"), "w");
  writeSync(fd, header);
  const fill = valueStream(seed);
  const total = elementsOf(scale);
  for (let done = 0; done < total; done += CHUNK) writeSync(fd, fill(Math.min(CHUNK, total - done)));
  closeSync(fd);
}

/** Two streams of random indices, one the same for every model, one the model's own. */
function valueStream(seed: number): (count: number) => Uint16Array {
  const [weights, changes] = [normalTable(0.02), normalTable(seed === 0 ? 0 : 0.002)];
  const value = new Float32Array(1);
  const bits = new Uint32Array(value.buffer);
  let shared = 1;
  let own = seed;
  return (count) => {
    const codes = new Uint16Array(count);
    for (let i = 0; i < count; i++) {
      shared = (Math.imul(shared, 1664525) + 1013904223) | 0;
      own = (Math.imul(own, 22695477) + 1) | 0;
      value[0] = (weights[shared >>> (32 - TABLE_BITS)] as number) + (changes[own >>> (32 - TABLE_BITS)] as number);
      codes[i] = ((bits[0] as number) + 0x8000) >>> 16;
    }
    return codes;
  };
}
