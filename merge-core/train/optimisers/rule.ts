// Optimisers as rules on plain arrays: what a rule keeps of each parameter, and one step in place. Everything that a rule
// keeps is in its state or follows from seed and step, so that a resumed run goes on as if it had not stopped.

/** float32 numbers, or codes of 8 bits. */
export type StateArray = Float32Array | Uint8Array;
export type State = Readonly<Record<string, StateArray>>;

export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
  readonly size: number;
}

export interface RuleStep {
  readonly lr: number;
  /** Decoupled; 0 for what is not decayed. */
  readonly weightDecay: number;
  /** From 1. */
  readonly step: number;
  readonly seed: number;
}

export interface Rule {
  /** What is kept of a parameter, before the first step. */
  start(parameter: Parameter): State;
  /** Changes `theta` and `state` in place. */
  step(theta: Float32Array, gradient: Float32Array, state: State, parameter: Parameter, at: RuleStep): void;
}

/** theta *= 1 - lr * weightDecay (Loshchilov & Hutter 2019). */
export function decay(theta: Float32Array, { lr, weightDecay }: RuleStep): void {
  if (weightDecay === 0) return;
  const keep = 1 - lr * weightDecay;
  for (let i = 0; i < theta.length; i++) theta[i] = (theta[i] as number) * keep;
}

/** An array of the state. */
export function floats(state: State, name: string): Float32Array {
  const found = state[name];
  if (!(found instanceof Float32Array)) throw new TypeError(`the optimiser has no ${name}`);
  return found;
}
