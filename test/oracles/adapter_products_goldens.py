"""KnOTS and PCB on what adapters change, dense and in float64 numpy by the authors' formulas, of which subspace_goldens.py has the code.

The adapters' ranks and scales differ, and the changes are the products: no factor is merged with another adapter's.
Writes test/fixtures/oracles/adapter-products/golden.json:
    python test/oracles/adapter_products_goldens.py
"""

import json
import pathlib

import numpy as np

from subspace_goldens import knots, pcb

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "oracles" / "adapter-products" / "golden.json"
INPUTS, OUTPUTS = 14, 11
# (rank, scale, weight) of each adapter.
ADAPTERS = [(2, 1.5, 0.7), (3, 0.5, -0.4), (2, 2.0, 1.1)]


def f32(x):
    return np.asarray(x, np.float32).astype(np.float64)


def main():
    rng = np.random.default_rng(20260102)
    factors = [(f32(rng.normal(size=(r, INPUTS))), f32(rng.normal(size=(OUTPUTS, r)))) for r, _, _ in ADAPTERS]
    deltas = [scale * b @ a for (a, b), (_, scale, _) in zip(factors, ADAPTERS)]
    weights = [w for _, _, w in ADAPTERS]
    weighted = [w * d for w, d in zip(weights, deltas)]
    exact = sum(weighted)

    def case(method, parameters, merged):
        error = np.linalg.norm(merged - exact) / np.linalg.norm(exact)
        u, s, vt = np.linalg.svd(merged)
        cut = (u[:, :3] * s[:3]) @ vt[:3]
        rounded = lambda x: [float(f"{v:.9g}") for v in x.ravel()]
        return {"method": method, "parameters": parameters, "merged": rounded(merged), "error": float(error), "rank3": rounded(cut)}

    cases = [
        case("knots", {"density": density, "elect": elect, "alpha": alpha}, alpha * knots(weighted, density, elect == 1))
        for density, elect, alpha in [(0.3, 1, 0.6), (0.3, 0, 1), (1, 1, 1), (1, 0, 1)]
    ]
    for variant in (1, 2, 3):
        cases.append(case("pcb", {"ratio": 0.25, "quantile": 0.05, "variant": variant}, pcb(deltas, 0.25, 0.05, variant, weights)))
    golden = {
        "provenance": {"script": "test/oracles/adapter_products_goldens.py", "numpy": np.__version__, "arithmetic": "float64"},
        **{"inputs": INPUTS, "outputs": OUTPUTS},
        "adapters": [
            {"rank": r, "scale": scale, "weight": w, "a": a.ravel().tolist(), "b": b.ravel().tolist()} for (a, b), (r, scale, w) in zip(factors, ADAPTERS)
        ],
        "cases": cases,
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(golden) + "\n")


main()
