"""The stored goldens of subspace methods against the authors' own code: Iso-C and Iso-CTS, TSV-M, PCB, KnOTS.

    python test/oracles/authors_code.py FOLDER

FOLDER holds clones of github.com/danielm1405/iso-merging, AntoAndGar/task_singular_vectors, duguodong7/pcb-merging and gstoica27/KnOTS under
their names, e.g. FOLDER/iso-merging. Their functions run as they are, in float64; prints the largest difference of each method and
exits 1 on one above 1e-5 (KnOTS' code rounds to float32 inside). Stores nothing.
"""

import contextlib
import importlib.util
import io
import json
import pathlib
import re
import sys
import textwrap
import types

import numpy as np
import torch

FOLDER = pathlib.Path(sys.argv[1])
GOLDEN = json.loads((pathlib.Path(__file__).parent.parent / "fixtures" / "oracles" / "subspace" / "golden.json").read_text())


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


iso = load("iso-merging/src/utils/iso.py", "iso")
tsv = load("task_singular_vectors/src/utils/TSVM_utils.py", "tsv")
load("KnOTS/masking_ops.py", "masking_ops")
# Its utils import data sets and models; the two look-ups that task_merger wants of it are not called here.
sys.modules["utils"] = types.SimpleNamespace(get_merging_fn=None, get_mask_fn=None)
knots = load("KnOTS/task_merger.py", "task_merger")


def pcb_scope(quantile):
    """The functions of the released scripts (variant 1 of the main one, 3 of the vision code's search), with their fixed quantiles replaced."""
    main_text = (FOLDER / "pcb-merging" / "pcb-merging.py").read_text()
    vision_text = (FOLDER / "pcb-merging" / "vision_source_code" / "pcb_ES.py").read_text()
    scope = {}
    exec(main_text[: main_text.index("### With Evolutionary")].replace("=0.0001", f"={quantile}"), scope)
    exec(vision_text[vision_text.index("def PCB(") : vision_text.index("def compute_acc")].replace("=0.01", f"={quantile}"), scope)
    return scope


def run_pcb_script(flat, ratio, quantile):
    """Variant 2 is the body of a script: its functions, and its main part up to where it measures."""
    text = (FOLDER / "pcb-merging" / "vision_source_code" / "pcb.py").read_text()
    functions, main = text[text.index("def piecewise_function") :].split('if __name__ == "__main__":\n')
    main = textwrap.dedent(main[: main.index("    reference_state_dict")])
    main = re.sub(r"_ratio=0\.01", f"_ratio={quantile}", main).replace("att_ratio = 0.05", f"att_ratio = {ratio}")
    main = re.sub(r"(?m)^lams = .*$", "lams = 1", main)
    scope = {"torch": torch, "tv_flat_checks": flat}
    exec(functions, scope)
    exec(main, scope)
    return scope["merged_tv"]


def run_pcb(taus, ratio, quantile, variant):
    scope, flat = pcb_scope(quantile), torch.stack([t.reshape(-1) for t in taus])
    if variant == 1:
        merged, _, _ = scope["PCB_merge"](flat, pcb_ratio=ratio)
    elif variant == 2:
        merged = run_pcb_script(flat, ratio, quantile)
    else:
        checks, scale = scope["PCB"](flat, pcb_ratio=ratio)
        # As its compute_acc puts them together.
        merged = torch.sum(checks * scale, dim=0) / torch.clamp(torch.sum(scale, dim=0), min=1e-12)
    return 1.2 * merged.reshape(taus[0].shape)


def vectors(taus):
    return [types.SimpleNamespace(vector={"w": t.clone()}) for t in taus]


def config(taus, **method):
    return types.SimpleNamespace(device="cpu", DATASETS=[str(i) for i in range(len(taus))], method=types.SimpleNamespace(**method))


def run_tsv(taus):
    c = config(taus)
    return tsv.sum_svd_dict(tsv.compute_svd_dict(vectors(taus), c), c)["w"]


def run_knots(taus, density, elect):
    merger = knots.SVDMerger.__new__(knots.SVDMerger)
    torch.nn.Module.__init__(merger) if isinstance(merger, torch.nn.Module) else None
    merger.device = "cpu"
    basis, _, coefficients, _ = merger.apply_svd([{"w": t} for t in taus])
    reps = [c["w"].reshape(-1).double() for c in coefficients]
    # The code keeps all that equal its threshold and so one element more than int(size * K).
    size = reps[0].numel()
    keep = (int(density * size) - 0.5) / size
    masking = sys.modules["masking_ops"]
    masks = masking.ties_masking(reps, topK=keep) if elect else masking.tv_masking(reps, topK=keep)
    merged = masking.masked_merge(torch.vstack(reps) * masks, "mean" if elect else "sum")
    return basis["w"].double() @ merged.reshape(coefficients[0]["w"].shape)


def expected(result, taus):
    method, parameters = result["method"], result["parameters"]
    if method == "iso_c":
        return iso.iso_c(vectors(taus), config(taus))["w"]
    if method == "iso_cts":
        return iso.iso_cts(vectors(taus), config(taus, common_space_fraction=parameters["common"]))["w"]
    if method == "tsv_m":
        return run_tsv(taus)
    if method == "pcb":
        return run_pcb(taus, **parameters)
    if method == "knots":
        return run_knots(taus, result["model"]["density"], parameters["elect"] == 1)
    return None


def main():
    worst = {}
    for case in GOLDEN["cases"]:
        taus = [torch.tensor(d, dtype=torch.float64).reshape(case["shape"]) for d in case["differences"]]
        for result in case["results"]:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                theirs = expected(result, taus)
            if theirs is None:
                continue
            difference = float(np.abs(theirs.numpy().ravel() - np.array(result["merged"])).max())
            name = f"{result['method']} {json.dumps(result['parameters'])}"
            worst[name] = max(worst.get(name, 0), difference)
    for name, difference in worst.items():
        print(f"{difference:.1e}  {name}")
    sys.exit(1 if max(worst.values()) > 1e-5 else 0)


main()
