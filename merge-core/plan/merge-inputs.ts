// The inputs of a planned tensor as its method sees them.
import type { GramSource, MergeInput } from "../methods/method.ts";
import type { InputRef } from "./plan.ts";

/**
 * Fisher information is read like an input, after those of the models. @param read reads a Gram matrix; without it methods may ask whether
 * there is one, but not for its numbers
 */
export function mergeInputs(refs: readonly InputRef[], read?: (gram: NonNullable<InputRef["gram"]>) => GramSource["read"]): MergeInput[] {
  const fishers = refs.filter(({ fisher }) => fisher !== undefined);
  return refs.map((ref, index) => {
    const { model, modelIndex, isBase, parameters, fisher, gram } = ref;
    return {
      ...{ index, model, modelIndex, isBase, parameters },
      ...(fisher && { fisher: refs.length + fishers.indexOf(ref) }),
      ...(gram && { gram: { side: gram.side, read: read?.(gram) ?? notRead } }),
    };
  });
}

const notRead = (): never => {
  throw new TypeError("Gram matrices are not read while planning");
};
