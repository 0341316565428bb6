// Every export of the WASM module, by file.
export * from "./memory";
export * from "./gemm";
export * from "./nn";
export * from "./adamw";
export * from "./tensor";
