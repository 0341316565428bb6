// Patterns for tensor names. Plain text fits names that contain it (case-sensitive), `*` fits all, as in recipes of the field;
// `glob:` patterns fit whole names, `re:` patterns any part of a name.

/** Longer than any sensible pattern for names of 60 letters. */
const MAX_PATTERN = 400;

const compiled = new Map<string, RegExp>();
/** Recipes of an editing session hold a few dozen. */
const MAX_COMPILED = 1000;

/** Whether a tensor's name fits a pattern that `patternProblem` finds nothing wrong with. */
export function fitsPattern(pattern: string, name: string): boolean {
  if (pattern === "*") return true;
  const known = compiled.get(pattern) ?? compile(pattern);
  if (known === undefined) return name.includes(pattern);
  if (compiled.size > MAX_COMPILED) compiled.clear();
  compiled.set(pattern, known);
  return known.test(name);
}

/** What is wrong with a pattern, if anything. */
export function patternProblem(pattern: string): string | undefined {
  if (pattern.length > MAX_PATTERN) return `longer than ${MAX_PATTERN} characters`;
  if (pattern.startsWith("re:") && isExplosive(pattern.slice(3))) return "a repeated group with a repetition or a choice in it, which can take forever";
  if (pattern.startsWith("glob:") && pattern.split(/\*+/).length - 1 > MAX_STARS) return `more than ${MAX_STARS} stars`;
  try {
    compile(pattern);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message.replace(/^Invalid regular expression: /, "") : String(error);
  }
}

function compile(pattern: string): RegExp | undefined {
  if (pattern.startsWith("re:")) return new RegExp(pattern.slice(3), "u");
  return pattern.startsWith("glob:") ? globToRegExp(pattern.slice(5)) : undefined;
}

/** `*` any letters, dots too; `?` one letter; `[0-3]` and `[!0-3]` one of a set; `{a,b}` either. */
function globToRegExp(glob: string): RegExp {
  let depth = 0;
  const body = glob.replaceAll(/\[!?[^\]]+\]|\*+|[\s\S]/g, (part) => {
    if (part.startsWith("*")) return ".*";
    if (part.length > 1) return `[${part.startsWith("[!") ? "^" : ""}${part.slice(part.startsWith("[!") ? 2 : 1, -1).replaceAll(/[\\^]/g, "\\$&")}]`;
    if (part === "?") return ".";
    if (part === "{") depth++;
    if (part === "{") return "(?:";
    if (part === "}" && depth > 0) depth--;
    else if (part === "," && depth > 0) return "|";
    else return part.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
    return ")";
  });
  if (depth > 0) throw new SyntaxError("{ without }");
  return new RegExp(`^(?:${body})$`, "su");
}

/** Repetition of a group that holds a repetition or a choice, and back-references: what backtracks without bound. */
function isExplosive(source: string): boolean {
  const plain = source.replaceAll(/\\[^1-9k]|\[(?:\\.|[^\]\\])*\]/gs, "x");
  if (/\\[1-9k]/.test(plain)) return true;
  const open: boolean[] = [];
  for (let i = 0; i < plain.length; i++) {
    const letter = plain[i] ?? "";
    if (letter === "(") open.push(false);
    else if (letter === ")") {
      const risky = open.pop() ?? false;
      if (risky && /[*+{]/.test(plain[i + 1] ?? "")) return true;
      if (risky && open.length > 0) open[open.length - 1] = true;
    } else if (/[*+{|]/.test(letter) && open.length > 0) open[open.length - 1] = true;
  }
  return (plain.match(/[*+]|\{\d*,/g) ?? []).length > MAX_REPETITIONS;
}

/** Each may try every length of the name, so the work grows with their power; a glob, which begins at the start, can have more. */
const MAX_REPETITIONS = 3;
const MAX_STARS = 5;

/** Which tensors something applies to: those that fit `filter` (all without one), and nothing in `exclude`. */
export interface TensorFilter {
  readonly filter: string | undefined;
  readonly exclude?: readonly string[];
}

export function fits({ filter, exclude = [] }: TensorFilter, name: string): boolean {
  return (filter === undefined || fitsPattern(filter, name)) && !exclude.some((pattern) => fitsPattern(pattern, name));
}
