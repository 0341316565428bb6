// All adapter families, in the order in which lists show them.
import { adalora } from "./families/adalora.ts";
import { c3a } from "./families/c3a.ts";
import { delora } from "./families/delora.ts";
import { hira } from "./families/hira.ts";
import { hra } from "./families/hra.ts";
import { ia3 } from "./families/ia3.ts";
import { lnTuning } from "./families/ln-tuning.ts";
import { loha } from "./families/loha.ts";
import { lokr } from "./families/lokr.ts";
import { lora } from "./families/lora.ts";
import { bone, miss } from "./families/miss.ts";
import { oft } from "./families/oft.ts";
import { shira } from "./families/shira.ts";
import { vblora } from "./families/vblora.ts";
import { vera } from "./families/vera.ts";
import type { AdapterFamily } from "./family.ts";

export const families: readonly AdapterFamily[] = [lora, adalora, vera, vblora, delora, loha, lokr, miss, bone, c3a, oft, hra, hira, ia3, shira, lnTuning];

export const findFamily = (type: string): AdapterFamily | undefined => families.find((family) => family.type === type);
