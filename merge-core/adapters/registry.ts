// All adapter families, in the order in which lists show them.
import { adalora } from "./families/adalora.ts";
import { aslora } from "./families/aslora.ts";
import { boft } from "./families/boft.ts";
import { c3a } from "./families/c3a.ts";
import { delora } from "./families/delora.ts";
import { ether, etherPlus } from "./families/ether.ts";
import { fish } from "./families/fish.ts";
import { fourierft } from "./families/fourierft.ts";
import { gralora } from "./families/gralora.ts";
import { hira } from "./families/hira.ts";
import { hra } from "./families/hra.ts";
import { hyperformer } from "./families/hyperformer.ts";
import { ia3 } from "./families/ia3.ts";
import { lnTuning } from "./families/ln-tuning.ts";
import { loha } from "./families/loha.ts";
import { lokr } from "./families/lokr.ts";
import { lonas } from "./families/lonas.ts";
import { lora } from "./families/lora.ts";
import { loretta } from "./families/loretta.ts";
import { lorettaAdp } from "./families/loretta-adp.ts";
import { bone, miss } from "./families/miss.ts";
import { moka } from "./families/moka.ts";
import { mixtureOfLoras, molora, mov } from "./families/molora.ts";
import { mos } from "./families/mos.ts";
import { mosa } from "./families/mosa.ts";
import { neuroada } from "./families/neuroada.ts";
import { oft } from "./families/oft.ts";
import { oneBit } from "./families/one-bit.ts";
import { palora } from "./families/palora.ts";
import { poly } from "./families/poly.ts";
import { psoft } from "./families/psoft.ts";
import { psoftOfPeft } from "./families/psoft-of-peft.ts";
import { sharelora } from "./families/sharelora.ts";
import { shira } from "./families/shira.ts";
import { svft } from "./families/svft.ts";
import { taps } from "./families/taps.ts";
import { trainableTokens } from "./families/trainable-tokens.ts";
import { twoStage } from "./families/two-stage.ts";
import { vblora } from "./families/vblora.ts";
import { vera } from "./families/vera.ts";
import type { AdapterFamily } from "./family.ts";

export const families: readonly AdapterFamily[] = [
  ...[lora, adalora, delora, lonas],
  ...[sharelora, aslora, mos, vblora, vera],
  ...[loha, lokr, moka, loretta, miss, bone, c3a, svft, gralora, fourierft],
  ...[oft, boft, hra, ether, etherPlus, psoft, psoftOfPeft, hira],
  ...[shira, neuroada, fish, taps, oneBit],
  ...[ia3, lnTuning, twoStage, trainableTokens],
  ...[poly, palora, molora, mov, mixtureOfLoras, mosa, hyperformer, lorettaAdp],
];

export const findFamily = (type: string): AdapterFamily | undefined => families.find((family) => family.type === type);
