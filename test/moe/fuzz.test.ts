// Configs of mixtures, broken at random: never a crash, always a diagnostic that says where.
import assert from "node:assert/strict";
import { WeightsmithError } from "../../merge-core/diagnostics.ts";
import { parseMoeConfig } from "../../merge-core/moe/config.ts";
import { permutation, uniforms } from "../../merge-core/nn/random.ts";

const VALID = `base_model: ./base
gate_mode: hidden
dtype: bfloat16
experts_per_token: 2
experts:
  - source_model: ./a
    positive_prompts: ["sums", 'with "quotes"']
    negative_prompts: [stories]
    residual_scale: 0.5
  - source_model: ./b+adapter
    positive_prompts:
      - stories
      - poems
  - source_model: ./c@main
    positive_prompts: [poems]
    noise_scale: 1e-3
shared_experts:
  - source_model: ./s
    positive_prompts: [anything]
architecture: qwen
`;
const PIECES = ["", ":", "- ", "\n", "  ", "[", "]", "{", "}", "&a ", "*a", "null", "-1", "1e999", "\t", '"', "!!binary ", "\u0000", "experts:", ".nan", "🙂"];

/** One text with some places cut, doubled or replaced. */
function broken(seed: number): string {
  let text = VALID;
  const draws = uniforms(seed, "fuzz", 12);
  for (let i = 0; i < 1 + (seed % 4); i++) {
    const [at = 0, length = 0, piece = 0] = [draws[3 * i], draws[3 * i + 1], draws[3 * i + 2]];
    const from = Math.floor(at * text.length);
    text = text.slice(0, from) + PIECES[Math.floor(piece * PIECES.length)] + text.slice(from + Math.floor(length * 12));
  }
  return seed % 7 === 0
    ? permutation(seed, "lines", text.split("\n").length)
        .map((line) => text.split("\n")[line])
        .join("\n")
    : text;
}

describe("A mixture's config, broken at random", () => {
  it("is valid before it is broken", () => assert.equal(parseMoeConfig(VALID, "moe.yml").config.experts.length, 3));

  it("is read or refused with a diagnostic, 3000 times", () => {
    let refused = 0;
    for (let seed = 0; seed < 3000; seed++) {
      const text = broken(seed);
      try {
        parseMoeConfig(text, "moe.yml");
      } catch (error) {
        assert.ok(error instanceof WeightsmithError, `${error}\n${text}`);
        assert.ok(
          error.diagnostics.every(({ file, code }) => file === "moe.yml" && code.length > 0),
          text,
        );
        refused++;
      }
    }
    assert.ok(refused > 1000 && refused < 2990, `${refused} refused`);
  });
});
