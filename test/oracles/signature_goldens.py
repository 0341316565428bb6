"""Golden results of Robust Weight Signatures, 1bit-Merging and metrics-weighted averaging, in float64 numpy.

Written from the papers and the released code, independently of the program. Writes test/fixtures/oracles/signatures/golden.json:
    python test/oracles/signature_goldens.py
"""

import json
import pathlib

import numpy as np

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "oracles" / "signatures" / "golden.json"


def affine(x, n):
    """min_max_quantize of the released code, with n levels instead of 2^bits."""
    low, high = x.min(), x.max()
    rescaled = (x - low) / (high - low)
    return np.floor(rescaled * (n - 1) + 0.5) / (n - 1) * (high - low) + low


QUANTIZERS = {
    1: affine,
    2: lambda x, n: np.sign(x) * np.exp(affine(np.log(np.abs(x)), n // 2)),
    3: lambda x, n: np.arctanh(affine(np.tanh(x), n)),
}


def signature(base, clean, corrupted):
    a, v = (clean - base).ravel(), (corrupted - base).ravel()
    # The projection onto a, as the outer product of the released code.
    return (v - (np.outer(a, a) @ v) / (a @ a)).reshape(base.shape)


def rws(base, clean, corrupted, weights, quantize=lambda x: x):
    found = [quantize(signature(base, clean, c)) for c in corrupted]
    return clean + sum(w * s for w, s in zip(weights, found)) / len(found)


def one_bit(base, models):
    deltas = [m - base for m in models]
    return base + sum(np.abs(d).mean() * np.where(d < 0, -1, 1) for d in deltas)


def mwa(models, losses, penalty):
    weights = np.array(losses, float) ** -penalty
    return sum(w * m for w, m in zip(weights / weights.sum(), models))


def f32(x):
    return np.asarray(x, np.float32).astype(np.float64)


rng = np.random.default_rng(5)
base, clean, one, two = (f32(rng.normal(size=(6, 8))) for _ in range(4))
golden = {
    "numpy": np.__version__,
    "shape": [6, 8],
    "models": [m.ravel().tolist() for m in (base, clean, one, two)],
    "rws": rws(base, clean, [one, two], [1.5, -0.5]).ravel().tolist(),
    "quantised": {str(k): rws(base, clean, [one, two], [1.5, -0.5], lambda x: q(x, 8)).ravel().tolist() for k, q in QUANTIZERS.items()},
    "one_bit": one_bit(base, [clean, one]).ravel().tolist(),
    "mwa": mwa([clean, one, two], [2, 1, 0.5], 1.5).ravel().tolist(),
}
OUT.parent.mkdir(parents=True, exist_ok=True)
OUT.write_text(json.dumps(golden) + "\n")
