"""Golden results of CoPA-Merging (RobustMerge), step by step as the released code does it and as the paper writes it, in float64 numpy.

Written from the paper and the released code, independently of the program. Writes test/fixtures/oracles/copa/golden.json:
    python test/oracles/copa_goldens.py
"""

import json
import pathlib

import numpy as np

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "oracles" / "copa" / "golden.json"
KEEP, ATT, C = 0.2, 0.2, 2.0
RANK, INPUTS, OUTPUTS, TASKS = 5, 16, 12, 3


def mask(x):
    flat = np.sort(np.abs(x).ravel())
    return np.where(np.abs(x) >= flat[int(x.size * (1 - KEEP))], x, 0)


def scales(a, percentile):
    s = np.abs(a).sum(1) / np.abs(mask(a)).sum(1)
    return np.maximum(s, np.sort(s)[int(RANK * (1 - ATT))]) if percentile else s


def released(As, Bs):
    s = [scales(a, True) for a in As]
    merged_a = sum(C * mask(a) for a in As)
    merged_b = sum(C * st[None, :] * mask(b) for st, b in zip(s, Bs)) / sum(s)[None, :]
    return merged_b @ merged_a


def paper(As, Bs):
    s = [scales(a, False) for a in As]
    return C * sum(mask(b) @ np.diag(st / sum(s)) @ mask(a) for a, b, st in zip(As, Bs, s))


def f32(x):
    return np.asarray(x, np.float32).astype(np.float64)


rng = np.random.default_rng(3)
As = [f32(rng.normal(size=(RANK, INPUTS))) for _ in range(TASKS)]
Bs = [f32(rng.normal(size=(OUTPUTS, RANK))) for _ in range(TASKS)]
golden = {
    "numpy": np.__version__,
    **{"rank": RANK, "inputs": INPUTS, "outputs": OUTPUTS},
    "adapters": [{"a": a.ravel().tolist(), "b": b.ravel().tolist()} for a, b in zip(As, Bs)],
    "paper": paper(As, Bs).ravel().tolist(),
    "released": released(As, Bs).ravel().tolist(),
}
assert all((np.abs(mask(a)).sum(1) > 0).all() for a in As)
OUT.parent.mkdir(parents=True, exist_ok=True)
OUT.write_text(json.dumps(golden) + "\n")
