// Gradient descent without any memory.
import { move } from "./adam-direction.ts";
import { decay, type Rule } from "./rule.ts";

export const sgdRule: Rule = {
  start: () => ({}),
  step(theta, gradient, _state, _parameter, at) {
    decay(theta, at);
    move(theta, gradient, at);
  },
};
