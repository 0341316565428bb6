// Every merge method, in the order in which they are listed to users.
import { arceeFusion } from "./arcee-fusion.ts";
import { breadcrumbs, breadcrumbsTies } from "./breadcrumbs.ts";
import { cabs } from "./cabs.ts";
import { dareLinear, dareTies } from "./dare.ts";
import { della, dellaLinear } from "./della.ts";
import { fisher } from "./fisher.ts";
import { isoC } from "./iso-c.ts";
import { isoCts } from "./iso-cts.ts";
import { karcher } from "./karcher.ts";
import { knots } from "./knots.ts";
import { linear } from "./linear.ts";
import type { MergeMethod } from "./method.ts";
import { modelStock } from "./model-stock.ts";
import { multislerp } from "./multislerp.ts";
import { mwa } from "./mwa.ts";
import { nearswap } from "./nearswap.ts";
import { nuslerp } from "./nuslerp.ts";
import { oneBit } from "./one-bit.ts";
import { passthrough } from "./passthrough.ts";
import { pcb } from "./pcb.ts";
import { ram, ramplusTl } from "./ram.ts";
import { regmean } from "./regmean.ts";
import { rws } from "./rws.ts";
import { sce } from "./sce.ts";
import { slerp } from "./slerp.ts";
import { ssd } from "./ssd.ts";
import { taskArithmetic } from "./task-arithmetic.ts";
import { ties } from "./ties.ts";
import { tsvM } from "./tsv-m.ts";
import { wudi } from "./wudi.ts";

export const methods: readonly MergeMethod[] = [
  ...[linear, slerp, nuslerp, multislerp, karcher],
  ...[taskArithmetic, ties, dareLinear, dareTies, della, dellaLinear, breadcrumbs, breadcrumbsTies, sce, modelStock],
  ...[pcb, cabs, isoC, isoCts, tsvM, knots, wudi],
  ...[fisher, regmean, mwa, rws, oneBit, ssd],
  ...[nearswap, arceeFusion, ram, ramplusTl, passthrough],
];

/** The method of that name; names are case-sensitive. */
export function findMethod(id: string): MergeMethod | undefined {
  return methods.find((method) => method.id === id);
}
