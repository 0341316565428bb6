// adapter_config.json of a LoRA whose factors hold the scale already: alpha is the rank, everywhere.

export interface LoraConfigFacts {
  readonly modules: readonly { readonly path: string; readonly rank: number }[];
  readonly base: unknown;
  readonly task: unknown;
  readonly modulesToSave: readonly string[] | null;
  readonly bias: "none" | "lora_only";
  readonly fanInFanOut: boolean;
}

/** Everything that bears on the change is spelled out, so that no program's defaults do. */
export function loraConfig({ modules, base, task, modulesToSave, bias, fanInFanOut }: LoraConfigFacts): Record<string, unknown> {
  const r = commonest(modules.map(({ rank }) => rank));
  // Whole paths in place of last parts: an adapter of some layers must not be taken for one of all.
  const others = Object.fromEntries(modules.filter(({ rank }) => rank !== r).map(({ path, rank }) => [path, rank]));
  return {
    alpha_pattern: others,
    base_model_name_or_path: base ?? null,
    bias,
    fan_in_fan_out: fanInFanOut,
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: r,
    lora_dropout: 0,
    modules_to_save: modulesToSave,
    peft_type: "LORA",
    r,
    rank_pattern: others,
    target_modules: modules.map(({ path }) => path),
    task_type: task ?? null,
    use_dora: false,
    use_rslora: false,
  };
}

function commonest(ranks: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const rank of ranks) counts.set(rank, (counts.get(rank) ?? 0) + 1);
  return [...counts].sort(([x, countX], [y, countY]) => countY - countX || x - y)[0]?.[0] ?? 1;
}
