"""What lm-evaluation-harness writes for one of the sample models, on a task of its own: the JSON that our adapter reads.

    pip install lm_eval
    python lm_eval_results.py
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

from common import FIXTURES, provenance, write_json

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "media" / "zoo" / "base"
TASK = """task: zoo_choice
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
metric_list:
  - metric: acc
  - metric: acc_norm
metadata:
  version: 1
"""


def questions():
    """Prompts of the sample tests; beside the right answer the same with two letters swapped, and one with a letter more."""
    lines = (ROOT / "media" / "zoo" / "data" / "sort.test.jsonl").read_text().splitlines()[:48]
    for i, line in enumerate(lines):
        example = json.loads(line)
        right = example["completion"]
        answers = [right, right[:2] + right[3] + right[2] + right[4:], right + right[-1]]
        shift = i % 3
        yield {"prompt": example["prompt"], "choices": answers[-shift:] + answers[:-shift] if shift else answers, "answer": shift}


out = FIXTURES / "lm-eval"
shutil.rmtree(out, ignore_errors=True)
out.mkdir(parents=True)
data = out / "questions.jsonl"
data.write_text("".join(json.dumps(question) + "\n" for question in questions()))
with tempfile.TemporaryDirectory() as folder:
    tasks = pathlib.Path(folder) / "tasks"
    tasks.mkdir()
    (tasks / "zoo_choice.yaml").write_text(TASK.format(data=data))
    results = pathlib.Path(folder) / "results"
    program = pathlib.Path(sys.executable).parent / "lm_eval"
    command = [program, "--model", "hf", "--model_args", f"pretrained={MODEL}", "--tasks", "zoo_choice", "--output_path", results]
    subprocess.run([*command, "--include_path", tasks, "--device", "cpu", "--batch_size", "8"], check=True)
    (found,) = results.rglob("results_*.json")
    # Places of this machine are of no use to others.
    text = found.read_text().replace(str(ROOT), "/repository").replace(folder, "/temporary")
    (out / "results.json").write_text(text)
    where = str(found.relative_to(results)).replace(str(ROOT), "/repository")
write_json(out / "provenance.json", provenance("lm_eval_results.py", ["lm_eval", "transformers", "torch"], model="media/zoo/base", written_to=where))
