/** esbuild's binary loader embeds the compiled kernels in the bundle. */
declare module "*.wasm" {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
