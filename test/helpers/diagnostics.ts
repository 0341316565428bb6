import assert from "node:assert/strict";
import { type Diagnostic, WeightsmithError } from "../../merge-core/diagnostics.ts";

/** Awaits a failure with this code and returns its first diagnostic for closer looks. */
export async function rejectsWith(code: string, action: () => unknown): Promise<Diagnostic> {
  let result: unknown;
  try {
    result = await action();
  } catch (error) {
    if (!(error instanceof WeightsmithError)) throw error;
    assert.equal(error.code, code, error.message);
    return error.diagnostics[0] as Diagnostic;
  }
  assert.fail(`expected ${code}, but it succeeded with ${JSON.stringify(result)?.slice(0, 200)}`);
}
