// Every export of the WASM module, by file.
export * from "./memory";
