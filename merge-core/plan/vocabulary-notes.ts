// What a change of vocabulary does to the tokens, for the user to read: moved, added, dropped, averaged, zero, out of range.
import type { AddedToken, Vocabulary } from "../checkpoints/tokenizer-file.ts";
import type { Diagnostic, SourceRange } from "../diagnostics.ts";

/** Names listed of each group before the rest is only counted. */
const MAX_NAMES = 12;

interface Facts {
  readonly tokens: readonly (string | undefined)[];
  readonly idsOf: ReadonlyMap<string, Int32Array>;
  readonly vocabularies: ReadonlyMap<string, Vocabulary>;
  readonly origin: { readonly reference: string };
  readonly added: readonly AddedToken[];
}

/** Collects what row maps find, each token once however many tensors have a row for it. */
export class VocabularyNotes {
  private readonly averaged = new Set<number>();
  private readonly zeros = new Set<number>();
  private readonly beyond = new Map<string, Set<number>>();

  constructor(private readonly facts: Facts) {}

  average(id: number): void {
    this.averaged.add(id);
  }

  zero(id: number): void {
    this.zeros.add(id);
  }

  /** The model's tokenizer knows the token, but its tensor ends before it. */
  outOfRange(model: string, id: number): void {
    const ids = this.beyond.get(model) ?? new Set<number>();
    this.beyond.set(model, ids.add(id));
  }

  /** One finding per model and kind, in the order of the models. */
  tell(report: (d: Diagnostic) => void, place: { readonly file: string; readonly range: SourceRange }): void {
    const { added, origin, tokens, idsOf, vocabularies } = this.facts;
    const tell = (code: string, severity: Diagnostic["severity"], message: string, names: readonly string[]) =>
      names.length > 0 && report({ code, severity, message: message.replace("#", count(names.length)), found: listed(names), ...place });
    const name = (id: number) => tokens[id] ?? `row ${id}`;
    tell(
      "tokens-added",
      "info",
      `# added behind those of ${origin.reference}`,
      added.map(({ content }) => content),
    );
    const texts = new Set(tokens);
    for (const [model, ids] of idsOf) {
      const moved = [...ids.entries()].filter(([id, own]) => own >= 0 && own !== id).map(([id]) => name(id));
      tell("tokens-moved", "info", `# of ${model} moved to other rows`, moved);
      const dropped = [...(vocabularies.get(model)?.ids.keys() ?? [])].filter((token) => !texts.has(token));
      tell("tokens-dropped", "warning", `# of ${model} dropped, since the output's vocabulary lacks them`, dropped);
      tell("token-out-of-range", "warning", `# of ${model} beyond the end of its embedding, taken as absent`, [...(this.beyond.get(model) ?? [])].map(name));
    }
    tell("rows-averaged", "info", "# that the base lacks got the mean of the rows of the models that have it", [...this.averaged].map(name));
    tell("rows-zero", "warning", "# got rows of zeros in models that lack it", [...this.zeros].map(name));
  }
}

const count = (n: number): string => (n === 1 ? "1 token" : `${n} tokens`);

function listed(names: readonly string[]): string {
  const shown = names.slice(0, MAX_NAMES).map((name) => JSON.stringify(name));
  return `${shown.join(", ")}${names.length > shown.length ? ` and ${names.length - shown.length} more` : ""}`;
}
