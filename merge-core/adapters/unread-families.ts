// Families of PEFT that are not read here: what each is, and what its user can do.

const AS_LORA = "write it as a LoRA with PEFT's save_as_lora, or merge it there (merge_and_unload) and take a LoRA out with weightsmith adapter extract";
const MERGE = "merge it with PEFT (merge_and_unload), and take a LoRA out with weightsmith adapter extract";
const PROMPT = "it is a prompt or a prefix and no change of weights: it stays with the program that runs the model";
const ROUTED = "what it does depends on the input, so that no weights do the same";

const UNREAD: Readonly<Record<string, string>> = {
  ...Object.fromEntries(["RANDLORA", "TINYLORA", "UNILORA", "WAVEFT"].map((type) => [type, AS_LORA])),
  ...Object.fromEntries(["ADAMSS", "BEFT", "DEFT", "FROD", "GLORA", "OSF", "PEANUT", "PVERA", "ROAD", "SUPERTUNING"].map((type) => [type, MERGE])),
  ...Object.fromEntries(
    ["ADAPTION_PROMPT", "CARTRIDGE", "CPT", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "PROMPT_TUNING"].map((type) => [type, PROMPT]),
  ),
  ...Object.fromEntries(["LILY", "SHADOW", "XLORA"].map((type) => [type, ROUTED])),
};

/** What to do with an adapter of a type that PEFT has and that is not read; undefined for names that PEFT does not have. */
export const remedyForUnread = (type: string): string | undefined => UNREAD[type];
