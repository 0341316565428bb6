// Weights stored packed look like ordinary integer tensors; merging their bytes would give nonsense.

const FORMATS: readonly (readonly [string, RegExp])[] = [
  ["bitsandbytes", /\.(absmax|quant_map|nested_absmax|nested_quant_map|SCB)$|\.quant_state\./],
  ["gptq or awq", /\.(qweight|qzeros|g_idx|scales)$/],
  ["mxfp4", /_(blocks|scales)$/],
  ["compressed-tensors", /\.(weight_packed|weight_scale|weight_zero_point|weight_shape)$/],
  ["block-scaled fp8", /\.weight_scale_inv$/],
];

/** The packed format that a tensor of this name belongs to, or undefined for a plain tensor. */
export function packedTensor(name: string): string | undefined {
  return FORMATS.find(([, pattern]) => pattern.test(name))?.[0];
}
