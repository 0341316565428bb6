import assert from "node:assert/strict";
import { parse } from "yaml";
import type { MergePlan } from "../../merge-core/plan/plan.ts";
import { modelCard } from "../../merge-core/run/model-card.ts";
import { floatTensor, writeModel } from "../helpers/models.ts";
import { planByHand } from "../helpers/plans.ts";

/** A plan of two models under names of our choice. */
async function namedPlan(names: readonly [string, string], text: string): Promise<MergePlan> {
  const folders = [1, 2].map((v) => writeModel([floatTensor("a", [1], [v])]));
  const plan = await planByHand({ method: "task_arithmetic", models: folders, baseFolder: folders[0] ?? "" });
  const rename = (folder: string) => names[folders.indexOf(folder)] ?? folder;
  return {
    ...plan,
    donor: { ...plan.donor, hasConfig: true },
    recipe: { ...plan.recipe, text },
    models: plan.models.map((model) => ({ ...model, reference: rename(model.reference) })),
    jobs: plan.jobs.map((job) => (job.kind === "merge" ? { ...job, inputs: job.inputs.map((ref) => ({ ...ref, model: rename(ref.model) })) } : job)),
  };
}

const frontMatter = (card: string) => parse(card.split("---\n")[1] ?? "");

describe("model card", () => {
  it("has the front matter that the hub reads", async () => {
    const card = modelCard(await namedPlan(["org/base", "./local/model"], "merge_method: task_arithmetic\n"), "out");
    assert.deepEqual(frontMatter(card), { base_model: ["org/base"], library_name: "transformers", tags: ["mergekit", "merge", "weightsmith"] });
    assert.match(card, /\[task_arithmetic\]\(https:\/\/arxiv\.org\/.*\) method, using org\/base as the base/);
    assert.match(card, /\* \[org\/base\]\(https:\/\/huggingface\.co\/org\/base\)\n\* \.\/local\/model\n/);
    assert.match(card, /```yaml\nmerge_method: task_arithmetic\n```/);
  });

  it("names no hub models where there are none", async () => {
    const card = modelCard(await namedPlan(["/a/b", "../c"], "x"), "out");
    assert.deepEqual(Object.keys(frontMatter(card)), ["library_name", "tags"]);
  });

  it("is of no library where the models are tensors alone, and files are no hub models", async () => {
    const plan = await namedPlan(["org/base.safetensors", "d/b.pt"], "x");
    const card = modelCard({ ...plan, donor: { ...plan.donor, hasConfig: false } }, "out");
    assert.deepEqual(Object.keys(frontMatter(card)), ["tags"]);
    assert.match(card, /\nThis is a merge of files of tensors made with/);
    assert.match(card, /\n\* org\/base\.safetensors\n\* d\/b\.pt\n/);
  });

  it("keeps recipe text inside its fence", async () => {
    const card = modelCard(await namedPlan(["a/b", "c/d"], "# ```\n# ````\nx: 1\n"), "out");
    assert.match(card, /\n`````yaml\n# ```\n# ````\nx: 1\n`````\n/);
  });
});
