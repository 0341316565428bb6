// A program of its own: prints what the machine's BLAS is and does, as compute/providers/probe.ts reads it. The one argument is the number of threads.
import { totalmem } from "node:os";
import { FIGURE_UNIT, measureBlas } from "./measure.ts";

console.log(JSON.stringify({ ...(await measureBlas(Number(process.argv.at(-1)) || 1)), unit: FIGURE_UNIT, memoryBytes: totalmem() }));
