// What is wrong where tensors of several models do not match, told once per model.
import type { Checkpoint } from "../checkpoints/checkpoint.ts";
import { layerStacks, placeOf } from "../checkpoints/tensor-roles.ts";
import type { Diagnostic } from "../diagnostics.ts";
import type { Recipe } from "../recipe/recipe.ts";
import { type FoundPart, type OutputTensor, type Part, primaryOf } from "./parts.ts";

/** A tensor of experts, and whether it holds all those of a layer. */
function expertsOf({ tensors }: Checkpoint): { name: string; fused: boolean } | undefined {
  for (const name of tensors.keys()) {
    const match = /(?:^|\.)experts\.(\d+\.)?/.exec(name);
    if (match !== null) return { name, fused: match[1] === undefined };
  }
  return undefined;
}

const shapeText = ({ name, entry }: Part): string => `${name} of shape [${entry?.shape.join(", ")}]`;

const ONLY_SOME = "merge models of one architecture, or say with tensor_names whether the output has such tensors (union) or not (intersection)";

/** Gathers what is wrong per model, so that a thousand tensors give one message. */
export class Complaints {
  private readonly groups = new Map<string, { first: Diagnostic; tensors: string[] }>();

  constructor(
    private readonly recipe: Recipe,
    private readonly report: (d: Diagnostic) => void,
  ) {}

  tell(): void {
    for (const { first, tensors } of this.groups.values()) {
      const more = tensors.length === 1 ? [] : [`${tensors.length} tensors in all: ${tensors.slice(0, 5).join(", ")}${tensors.length > 5 ? ", ..." : ""}`];
      this.report({ ...first, notes: [...(first.notes ?? []), ...more] });
    }
  }

  /** A complaint that several tensors may give in the same words. */
  once({ code, message, ...details }: Omit<Diagnostic, "file">): void {
    this.groups.set(`${code}\n${message}\n${details.found}`, { first: { ...details, code, message, file: this.recipe.file }, tensors: [""] });
  }

  /** A tensor that some parts have and some lack, told of whoever differs from the base (else from the first model). */
  uneven(parts: readonly Part[]): void {
    const primary = primaryOf(parts);
    if (primary === undefined) return;
    for (const part of parts) if ((part.entry === undefined) !== (primary.entry === undefined)) this.unlike(part, primary);
  }

  private unlike(part: Part, primary: Part): void {
    const [ours, theirs] = [part, primary].map(({ checkpoint, name }) => layerStacks(checkpoint.tensors.keys()).get(placeOf(name).prefix) ?? 0);
    const [text, other] = [part.source.model.text, primary.source.model.text];
    const [expert, otherExpert] = [part, primary].map(({ checkpoint }) => expertsOf(checkpoint));
    if (expert !== undefined && otherExpert !== undefined && expert.fused !== otherExpert.fused)
      this.add("expert-layouts", part, part.name, {
        message: "the models store their experts differently: one by one, and those of a layer in one tensor",
        found: `${text}: ${expert.name}`,
        expected: `as in ${other}: ${otherExpert.name}`,
        remedy: "save all models with one version of their library first",
      });
    else if (placeOf(part.name).layer !== undefined && part.source.layers === undefined && ours !== theirs)
      this.add("layer-count-differs", part, part.name, {
        message: "the models have different numbers of layers",
        found: `${ours} in ${text}`,
        expected: `${theirs}, as in ${other}`,
        remedy: "merge models of one architecture, or pick layers with slices",
      });
    else if (part.entry === undefined)
      this.add("tensor-missing", part, part.name, {
        message: `${text} lacks a tensor that ${other} has`,
        found: `no ${part.name}`,
        expected: shapeText(primary),
        remedy: ONLY_SOME,
      });
    else
      this.add("tensor-missing", part, part.name, {
        message: `${text} has a tensor that ${other} lacks`,
        found: shapeText(part),
        expected: `${primary.name} in ${other} too`,
        remedy: ONLY_SOME,
      });
  }

  /** A tensor that some models lack, in a merge of those that all have. */
  leftOut(parts: readonly Part[]): void {
    for (const part of parts)
      if (part.entry === undefined)
        this.add("tensor-left-out", part, part.name, {
          severity: "info",
          message: `${part.source.model.text} lacks tensors of other models, and so does the output`,
          found: `no ${part.name}`,
        });
  }

  /** A tensor that some models lack, in a merge of all. */
  fewer(parts: readonly Part[], mergeable: boolean): void {
    const those = parts.filter(({ entry }) => entry !== undefined).map(({ source }) => source.model.text);
    for (const part of parts)
      if (part.entry === undefined)
        this.add(mergeable ? "tensor-of-some" : "tensor-of-one", part, part.name, {
          severity: "info",
          message: `${part.source.model.text} lacks tensors that are ${mergeable ? "merged from the models that have them" : "taken as they are from the one that has them"}`,
          found: `${part.name} in ${those.join(", ")}`,
        });
  }

  noneShared(): void {
    this.add("no-common-tensor", undefined, "", {
      message: "no tensor is in all of the models",
      expected: "equal names in every model",
      remedy: "use tensor_names: union, or merge models of one architecture",
    });
  }

  /** A model with hardly a name in common with the base (else with the first model). */
  foreign(part: Part, primary: Part): void {
    const example = ({ checkpoint }: Part) =>
      [...checkpoint.tensors.keys()].find((name) => placeOf(name).layer !== undefined) ?? [...checkpoint.tensors.keys()][0];
    this.add("architecture-differs", part, part.name, {
      message: `${part.source.model.text} has another architecture than ${primary.source.model.text}`,
      found: `tensors named like ${example(part)}`,
      expected: `names like ${example(primary)}`,
      remedy: "merge models of one architecture",
    });
  }

  /** Models whose head is their embedding, merged with some that have a head of their own. */
  tied({ name, parts }: OutputTensor, tied: readonly Part[]): void {
    const own = parts.filter(({ entry }) => entry !== undefined).map(({ source }) => source.model.text);
    if (tied.length === 0) return;
    const models = tied.map(({ source }) => source.model.text).join(", ");
    this.add("heads-tied", tied[0], name, {
      severity: "warning",
      message: `some models use their embedding as head, others have a head: the output has a head of its own`,
      found: `${name} in ${own.join(", ")}, the embedding in ${models}`,
      notes: ["embedding and head of the output differ, and its config says so; that takes more memory than a tied head"],
    });
  }

  notFloat(part: FoundPart): void {
    this.add("dtype-differs", part, part.name, {
      message: `${part.source.model.text} stores as integers what other models store as floats`,
      found: `${part.name} in ${part.entry.dtype}`,
      expected: "a floating-point dtype",
    });
  }

  shapes(part: FoundPart, primary: FoundPart): void {
    const write = ({ entry, source }: FoundPart) => `[${entry.shape.join(", ")}] in ${source.model.text}`;
    this.add("shapes-differ", part, part.name, {
      message: `tensor ${part.name} has different shapes in the models`,
      found: write(part),
      expected: write(primary),
      remedy: "merge models of one architecture and size",
    });
  }

  cropped(output: OutputTensor, parts: readonly FoundPart[], shape: readonly number[]): void {
    const rows = parts.map(({ entry, source }) => `${entry.shape[0]} in ${source.model.text}`).join(", ");
    const notes = ["rows are matched by number, which is right only if the vocabularies agree on the rows that are left"];
    this.add("embedding-cropped", undefined, output.name, {
      severity: "warning",
      message: `${output.name} is cropped to ${shape[0]} rows, the fewest of any model`,
      found: rows,
      notes,
    });
  }

  private add(code: string, part: Part | undefined, tensor: string, details: Partial<Diagnostic> & { readonly message: string }): void {
    const key = `${code}\n${part === undefined ? tensor : part.modelIndex}`;
    const group = this.groups.get(key);
    if (group !== undefined) group.tensors.push(tensor);
    else
      this.groups.set(key, {
        first: { code, severity: "error", file: this.recipe.file, ...(part && { range: part.source.range }), ...details },
        tensors: [tensor],
      });
  }
}
