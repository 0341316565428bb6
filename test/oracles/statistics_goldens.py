"""Golden results of Fisher merging and RegMean, by the authors' formulas in float64 numpy.

Written from the papers and the released code, independently of the program. Writes test/fixtures/oracles/statistics/golden.json:
    python test/oracles/statistics_goldens.py
"""

import json
import pathlib

import numpy as np

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "oracles" / "statistics" / "golden.json"
ROWS, COLUMNS = 5, 7


def regmean(weights, grams, alpha):
    # The released code stores a row per input; W.T is that layout.
    shrunk = [alpha * g + (1 - alpha) * np.diag(np.diag(g)) for g in grams]
    total = sum(g @ w.T for g, w in zip(shrunk, weights))
    return np.linalg.solve(sum(shrunk), total).T


def fisher(weights, fishers, coefficients, floor=1e-6):
    norms = [np.sqrt((f**2).sum()) for f in fishers]
    floored = [np.maximum(f, floor) if i == 0 else f for i, f in enumerate(fishers)]
    shares = [c / n * f for c, n, f in zip(coefficients, norms, floored)]
    return sum(s * w for s, w in zip(shares, weights)) / sum(shares)


def f32(x):
    return np.asarray(x, np.float32).astype(np.float64)


rng = np.random.default_rng(11)
weights = [f32(rng.normal(size=(ROWS, COLUMNS))) for _ in range(3)]
inputs = [rng.normal(size=(40, COLUMNS)) * rng.uniform(0.2, 2, COLUMNS) for _ in range(3)]
grams = [f32(x.T @ x / len(x)) for x in inputs]
fishers = [f32(rng.normal(size=(ROWS, COLUMNS)) ** 4 * 1e-4) for _ in range(3)]
golden = {
    "numpy": np.__version__,
    "shape": [ROWS, COLUMNS],
    "models": [{"weights": w.ravel().tolist(), "gram": g.ravel().tolist(), "fisher": f.ravel().tolist()} for w, g, f in zip(weights, grams, fishers)],
    "regmean": {str(a): regmean(weights, grams, a).ravel().tolist() for a in (1, 0.9, 0.1, 0)},
    "fisher": fisher(weights, fishers, [1, 2, 3]).ravel().tolist(),
}
OUT.parent.mkdir(parents=True, exist_ok=True)
OUT.write_text(json.dumps(golden) + "\n")
