// The subcommands, in the order help shows them.
import { adapt, freeze } from "./adapt.ts";
import { adapter } from "./adapter.ts";
import { align } from "./align.ts";
import type { Command } from "./command.ts";
import { compare } from "./compare.ts";
import { demo } from "./demo.ts";
import { doctor } from "./doctor.ts";
import { evaluateCommand } from "./eval.ts";
import { evolve } from "./evolve.ts";
import { inspect } from "./inspect.ts";
import { merge } from "./merge.ts";
import { methods } from "./methods.ts";
import { moe } from "./moe.ts";
import { pareto } from "./pareto.ts";
import { plan } from "./plan.ts";
import { population } from "./population.ts";
import { run } from "./run.ts";
import { search, soup } from "./search.ts";
import { share } from "./share.ts";
import { fisher, gram } from "./statistics.ts";
import { tokens } from "./tokens.ts";
import { train } from "./train.ts";
import { trainFront } from "./train-front.ts";
import { unlearn } from "./unlearn.ts";
import { verify } from "./verify.ts";

export const commands: readonly Command[] = [
  demo,
  merge,
  plan,
  verify,
  run,
  methods,
  inspect,
  compare,
  align,
  share,
  population,
  train,
  trainFront,
  pareto,
  evolve,
  unlearn,
  adapter,
  moe,
  tokens,
  evaluateCommand,
  fisher,
  gram,
  search,
  soup,
  adapt,
  freeze,
  doctor,
];
