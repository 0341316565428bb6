// The file that says which dense models become the experts of a mixture: mergekit-moe's, unchanged.
import { type Diagnostic, inputError, type SourceRange } from "../diagnostics.ts";
import type { FloatDType } from "../formats/dtypes.ts";
import { parseModelReference } from "../recipe/model-reference.ts";
import { RECIPE_DTYPES } from "../recipe/parse-recipe.ts";
import type { ModelReference } from "../recipe/recipe.ts";
import { YamlMap } from "../train/yaml-map.ts";

export const GATE_MODES = ["hidden", "hidden_last", "hidden_avg", "cheap_embed", "random", "uniform_random"] as const;
export type GateMode = (typeof GATE_MODES)[number];

export interface Expert {
  readonly source: ModelReference;
  /** Texts that this expert is for, and texts that it is not for. */
  readonly positive: readonly string[];
  readonly negative: readonly string[];
  /** Factor of what the expert adds to the residual stream. */
  readonly residualScale: number | undefined;
  /** Deviation of normal noise that is added to the expert's matrices. */
  readonly noiseScale: number | undefined;
}

export interface MoeConfig {
  readonly file: string;
  readonly text: string;
  /** Gives attention, norms, embeddings and head, and computes the gates. */
  readonly base: ModelReference;
  readonly experts: readonly Expert[];
  /** Runs for every token. */
  readonly shared: Expert | undefined;
  readonly gateMode: GateMode;
  readonly dtype: FloatDType | undefined;
  readonly expertsPerToken: number;
  /** Start of the name of an output layout. */
  readonly architecture: string | undefined;
}

const KEYS = ["base_model", "experts", "gate_mode", "dtype", "experts_per_token", "shared_experts", "architecture"];
const EXPERT_KEYS = ["source_model", "positive_prompts", "negative_prompts", "noise_scale", "residual_scale"];

/** Keys that mean nothing are warnings, as mergekit-moe ignores them. @throws WeightsmithError `yaml-syntax`, `config-*`, `moe-*` */
export function parseMoeConfig(text: string, file: string, allowSame = false): { config: MoeConfig; warnings: Diagnostic[] } {
  const map = YamlMap.parse(text, file);
  const maps = [...map.children("experts"), ...map.children("shared_experts")];
  const warnings = [map.unknown(KEYS), ...maps.map((expert) => expert.unknown(EXPERT_KEYS))].flat();
  const shared = map.children("shared_experts").map(readExpert);
  if (shared.length > 1) throw map.refuse("shared_experts", "one shared expert at most");
  const dtype = !map.isEmpty("dtype") ? RECIPE_DTYPES[map.choice("dtype", undefined, Object.keys(RECIPE_DTYPES))] : undefined;
  const config: MoeConfig = {
    file,
    text,
    base: readReference(map, "base_model"),
    experts: map.children("experts").map(readExpert),
    shared: shared[0],
    gateMode: map.choice("gate_mode", "hidden", GATE_MODES),
    dtype,
    expertsPerToken: map.count("experts_per_token", 2, 1),
    architecture: !map.isEmpty("architecture") ? map.text("architecture") : undefined,
  };
  checkExperts(config, map, allowSame);
  return { config, warnings: warnings.map((warning) => ({ ...warning, severity: "warning" })) };
}

function readReference(map: YamlMap, key: string): ModelReference {
  const parsed = parseModelReference(map.text(key));
  if (parsed === undefined) throw map.refuse(key, "a model, as path, path@revision or path+adapter");
  const nowhere: SourceRange = { line: 0, column: 0, endLine: 0, endColumn: 0, offset: 0, end: 0 };
  return { ...parsed, range: map.placeOf(key) ?? nowhere };
}

function readExpert(map: YamlMap): Expert {
  const number = (key: string, min: number) => (!map.isEmpty(key) ? map.number(key, undefined, { min }) : undefined);
  return {
    source: readReference(map, "source_model"),
    positive: readTexts(map, "positive_prompts"),
    negative: readTexts(map, "negative_prompts"),
    residualScale: number("residual_scale", Number.NEGATIVE_INFINITY),
    noiseScale: number("noise_scale", 0),
  };
}

function readTexts(map: YamlMap, key: string): string[] {
  if (map.isEmpty(key)) return [];
  return map.list(key, "a list of texts").map((text) => {
    if (typeof text !== "string") throw map.refuse(key, "a list of texts; put others in quotes");
    return text;
  });
}

/** What would give no mixture worth the name. */
function checkExperts(config: MoeConfig, map: YamlMap, allowSame: boolean): void {
  const { experts, expertsPerToken, gateMode, file } = config;
  const fail = (code: string, key: string, message: string, expected: string, remedy?: string) => {
    const range = map.placeOf(key);
    throw inputError(code, message, { file, ...(range && { range }), expected, ...(remedy === undefined ? {} : { remedy }) });
  };
  if (experts.length < expertsPerToken || experts.length === 0)
    fail("moe-too-few-experts", "experts", `there are ${experts.length} experts`, `at least experts_per_token of them, ${expertsPerToken}`);
  if (gateMode === "random" || gateMode === "uniform_random") return;
  const silent = experts.findIndex(({ positive }) => positive.length === 0);
  if (silent >= 0) fail("moe-no-prompts", "experts", `expert ${silent + 1} has no positive_prompts`, "at least one, which the gate is made from");
  const prompts = new Set(experts.map(({ positive, negative }) => JSON.stringify([positive, negative])));
  if (prompts.size === 1 && experts.length > 1)
    fail("moe-equal-prompts", "experts", "all experts have the same prompts, so the gate could not tell them apart", "prompts that fit one expert each");
  if (!allowSame && experts.length > 1 && new Set(experts.map(({ source }) => source.text)).size === 1)
    fail(
      "moe-equal-experts",
      "experts",
      "all experts are the same model, so the mixture would compute what that model does, at more cost",
      "different models",
      "if it is to be trained further, run with --allow-same",
    );
}
