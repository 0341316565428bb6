// Four small tasks on short strings for tiny models: a model that is good at one of them is not at the others, so merging experts means something.
// Pure: the same seed gives the same examples everywhere.
import { uniforms } from "../nn/random.ts";

/** A question with one right answer, the shape of a JSONL line. */
export interface TaskExample {
  readonly prompt: string;
  readonly completion: string;
}

/** Letters that strings are made of; few, so that a small model sees each often. */
const ALPHABET = "abcdefghijklmnop";
/** `shift` moves letters by 1 to this many places. */
const MAX_SHIFT = 5;

/** Random whole numbers from 0 to `below` - 1. */
type Draw = (below: number) => number;

type Maker = (word: string, draw: Draw, termLimit: number) => TaskExample;

const MAKERS = {
  sort: (word) => ({ prompt: `sort ${word}=`, completion: [...word].sort().join("") }),
  reverse: (word) => ({ prompt: `reverse ${word}=`, completion: [...word].reverse().join("") }),
  shift: (word, draw) => {
    const places = 1 + draw(MAX_SHIFT);
    return { prompt: `shift ${places} ${word}=`, completion: [...word].map((letter) => shiftLetter(letter, places)).join("") };
  },
  add: (_word, draw, termLimit) => {
    const [a, b] = [draw(termLimit), draw(termLimit)];
    return { prompt: `add ${a}+${b}=`, completion: String(a + b) };
  },
  copy: (word) => ({ prompt: `copy ${word}=`, completion: word }),
} satisfies Record<string, Maker>;

/** The tasks that are measured. `copy` is only practised: it teaches a model to read its prompt. */
export const TASKS = ["sort", "reverse", "shift", "add"] as const;
export type TaskName = (typeof TASKS)[number];
export type PracticeName = keyof typeof MAKERS;

export interface Difficulty {
  /** Lengths of words, both ends included. */
  readonly words: { readonly min: number; readonly max: number };
  /** The terms of `add` are below this. */
  readonly termLimit: number;
}

function shiftLetter(letter: string, places: number): string {
  return ALPHABET[(ALPHABET.indexOf(letter) + places) % ALPHABET.length] ?? letter;
}

/** Example number `index` of a stream of examples of one task. */
export function makeExample(task: PracticeName, difficulty: Difficulty, seed: number, stream: string, index: number): TaskExample {
  const { min, max } = difficulty.words;
  const numbers = uniforms(seed, `${task}/${stream}/${index}`, max + 3);
  let used = 0;
  const draw: Draw = (below) => Math.floor((numbers[used++] ?? 0) * below);
  const length = min + draw(max - min + 1);
  const word = Array.from({ length }, () => ALPHABET[draw(ALPHABET.length)] ?? "").join("");
  return MAKERS[task](word, draw, difficulty.termLimit);
}

export interface SplitPlan {
  readonly seed: number;
  /** Of the validation and test splits. */
  readonly measured: Difficulty;
  /** Of the train split; easier examples are a help at the start. */
  readonly trained: Difficulty;
  readonly sizes: { readonly train: number; readonly validation: number; readonly test: number };
}

export interface TaskSplits {
  readonly train: readonly TaskExample[];
  readonly validation: readonly TaskExample[];
  readonly test: readonly TaskExample[];
}

/** Splits in which no prompt occurs twice, neither inside a split nor across splits. The test split does not depend on the size of the others. */
export function makeSplits(task: TaskName, plan: SplitPlan): TaskSplits {
  const seen = new Set<string>();
  const fill = (split: keyof TaskSplits, difficulty: Difficulty) => distinct(task, difficulty, plan.seed, split, plan.sizes[split], seen);
  const test = fill("test", plan.measured);
  const validation = fill("validation", plan.measured);
  return { train: fill("train", plan.trained), validation, test };
}

/** The next `count` examples of a stream whose prompts are not yet in `seen`; adds them to it. */
function distinct(task: TaskName, difficulty: Difficulty, seed: number, stream: string, count: number, seen: Set<string>): TaskExample[] {
  const examples: TaskExample[] = [];
  // A stream that has run dry would loop for ever: far more draws than the answer needs mean that there are too few prompts.
  for (let index = 0; examples.length < count; index++) {
    if (index > 1000 + 20 * count) throw new RangeError(`there are not ${count} different prompts of ${task} of this difficulty`);
    const example = makeExample(task, difficulty, seed, stream, index);
    if (seen.has(example.prompt)) continue;
    seen.add(example.prompt);
    examples.push(example);
  }
  return examples;
}

/** One part of a mixture: a task, how hard, and how often in parts of the sum of shares. */
export interface Practice {
  readonly task: PracticeName;
  readonly difficulty: Difficulty;
  readonly share: number;
}

/** Examples of several tasks in random order, none of whose prompts is in `excluded`; prompts may repeat. */
export function makeMixture(practices: readonly Practice[], seed: number, count: number, excluded: ReadonlySet<string>): TaskExample[] {
  const picks = uniforms(seed, "mixture", 2 * count);
  const examples: TaskExample[] = [];
  for (let index = 0; examples.length < count; index++) {
    const { task, difficulty } = pickPractice(practices, picks[index % picks.length] ?? 0);
    const example = makeExample(task, difficulty, seed, "mixture", index);
    if (!excluded.has(example.prompt)) examples.push(example);
  }
  return examples;
}

/** The practice at `fraction` (0 to 1) of the way along the shares laid end to end. */
function pickPractice(practices: readonly Practice[], fraction: number): Practice {
  let rest = fraction * practices.reduce((sum, { share }) => sum + share, 0);
  for (const practice of practices) {
    if (rest < practice.share) return practice;
    rest -= practice.share;
  }
  throw new RangeError("a mixture needs a task with a share above 0");
}

/** One JSON object a line. */
export const toJsonl = (examples: readonly TaskExample[]): string => examples.map((example) => `${JSON.stringify(example)}\n`).join("");
