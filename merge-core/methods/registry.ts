// Every merge method, in the order in which they are listed to users.
import { dareLinear, dareTies } from "./dare.ts";
import { linear } from "./linear.ts";
import type { MergeMethod } from "./method.ts";
import { passthrough } from "./passthrough.ts";
import { slerp } from "./slerp.ts";
import { taskArithmetic } from "./task-arithmetic.ts";
import { ties } from "./ties.ts";

export const methods: readonly MergeMethod[] = [linear, slerp, taskArithmetic, ties, dareLinear, dareTies, passthrough];

/** The method of that name; names are case-sensitive. */
export function findMethod(id: string): MergeMethod | undefined {
  return methods.find((method) => method.id === id);
}
