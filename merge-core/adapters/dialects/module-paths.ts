// Module paths and the names that kohya's programs make of them. Every dot becomes an underscore there, which cannot be undone by rule alone:
// a model's own names decide, or words that are known to belong together.
import { inputError, nearestName } from "../../diagnostics.ts";

/** Words with underscores in the paths of diffusion models, their text encoders and decoders. */
const WORDS = [
  ...["down_blocks", "up_blocks", "mid_block", "transformer_blocks", "single_transformer_blocks", "to_q", "to_k", "to_v", "to_out", "to_add_out"],
  ...["add_q_proj", "add_k_proj", "add_v_proj", "proj_in", "proj_out", "proj_mlp", "time_emb_proj", "time_embedding", "add_embedding", "linear_1", "linear_2"],
  ...["conv_in", "conv_out", "conv_shortcut", "ff_context", "norm1_context", "norm_out", "x_embedder", "context_embedder", "time_text_embed"],
  ...[
    "timestep_embedder",
    "guidance_embedder",
    "text_embedder",
    "text_model",
    "text_projection",
    "self_attn",
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "out_proj",
  ],
  ...["gate_proj", "up_proj", "down_proj", "c_attn", "c_proj", "c_fc"],
];
const PLAIN = [
  "attentions",
  "resnets",
  "attn",
  "attn1",
  "attn2",
  "ff",
  "net",
  "proj",
  "conv",
  "conv1",
  "conv2",
  "downsamplers",
  "upsamplers",
  "linear",
  "norm1",
];
const TEXT = ["encoder", "layers", "mlp", "fc1", "fc2", "model", "transformer", "h"];
const KNOWN = [...WORDS, ...PLAIN, ...TEXT].sort((a, b) => b.length - a.length);

const underscored = (path: string): string => path.replaceAll(".", "_");

/**
 * The path of a module whose dots became underscores.
 * @param modules paths of a model's modules, if one is known
 * @throws WeightsmithError `adapter-name-ambiguous`, `adapter-target-missing`
 */
export function dottedPath(name: string, modules: ReadonlyMap<string, string> | undefined, file: string): string {
  if (modules === undefined) return byWords(name, file);
  const path = modules.get(name);
  if (path !== undefined) return path;
  const near = nearestName(name, modules.keys());
  throw inputError("adapter-target-missing", `the base model has no module that would be called ${name}`, {
    file,
    ...(near === undefined ? {} : { remedy: `did you mean ${near}?` }),
  });
}

/** From names with underscores to paths. @throws WeightsmithError `adapter-name-ambiguous` if two paths have one name */
export function pathsByName(paths: Iterable<string>, file: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const path of paths) {
    const other = found.get(underscored(path));
    if (other !== undefined && other !== path) throw inputError("adapter-name-ambiguous", `${other} and ${path} have the same name there`, { file });
    found.set(underscored(path), path);
  }
  return found;
}

function byWords(name: string, file: string): string {
  const parts: string[] = [];
  for (let rest = name; rest !== ""; ) {
    const part = /^\d+(?=_|$)/.exec(rest)?.[0] ?? KNOWN.find((word) => rest === word || rest.startsWith(`${word}_`));
    if (part === undefined) throw ambiguous(name, rest, file);
    parts.push(part);
    rest = rest.slice(part.length + 1);
  }
  return parts.join(".");
}

function ambiguous(name: string, rest: string, file: string) {
  return inputError("adapter-name-ambiguous", `where the dots of ${name} were cannot be told`, {
    file,
    found: rest,
    remedy: "name the base model with --base: its modules decide",
  });
}

export { underscored };
