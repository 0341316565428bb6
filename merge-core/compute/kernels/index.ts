// Every export of the WASM module, by file.
export * from "./memory";
export { narrow, widen } from "./dtypes";
export { drawBits, drawWords } from "./philox";
export { drawByRank, drawByRankScratchBytes, packMask } from "./draw";
export { rowRanks, rowRanksScratchBytes, takeTurns, turnsScratchBytes } from "./order";
export { relativeLimit, runInstruction } from "./program";
export * from "./gemm";
export { gemm64, gemm64ScratchBytes } from "./gemm64";
export { jacobiRotate } from "./jacobi";
export { columnDots, rowDots } from "./lines";
export { rowProducts, rowSums } from "./rows";
export { addWeightedRows, largestInRows } from "./pursuit";
export * from "./nn";
export * from "./adamw";
export * from "./tensor";
