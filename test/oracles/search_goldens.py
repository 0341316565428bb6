"""Searches by their usual implementations: CMA-ES by pycma (Hansen's own), hypervolumes, reference directions and NSGA-III by pymoo.

    pip install cma pymoo
    python search_goldens.py
"""

import cma
import numpy as np
from common import FIXTURES, provenance, write_compact_json
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.core.problem import Problem
from pymoo.indicators.hv import HV
from pymoo.optimize import minimize
from pymoo.util.ref_dirs import get_reference_directions

TARGET = 1e-9
RUNS = 21
LIMIT = 15_000
UNSOLVED = 10**9
N = 10

random = np.random.default_rng(7)
rotation = np.linalg.qr(random.normal(size=(N, N)))[0]
scales = 10 ** (6 * np.arange(N) / (N - 1))


def sphere(x):
    return float(np.sum(x**2))


def rosenbrock(x):
    return float(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))


def rotated_ellipsoid(x):
    return float(np.sum(scales * (rotation @ x) ** 2))


def evaluations(function, mean, seed):
    """How many measurements until one is below the target, generation by generation."""
    search = cma.CMAEvolutionStrategy([mean] * N, 0.5, {"seed": seed, "verbose": -9, "tolfun": 0, "tolfunhist": 0, "tolx": 0})
    count = 0
    while count < LIMIT:
        xs = search.ask()
        costs = [function(x) for x in xs]
        for cost in costs:
            count += 1
            if cost < TARGET:
                return count
        search.tell(xs, costs)
    # Rosenbrock's function has a second minimum, where a few runs end.
    return UNSOLVED


def counts(function, mean):
    return sorted(evaluations(function, mean, seed) for seed in range(1, RUNS + 1))


class TwoCorners(Problem):
    """Squared distances to two corners of the plane."""

    def __init__(self):
        super().__init__(n_var=2, n_obj=2, xl=-1.0, xu=2.0)

    def _evaluate(self, x, out, *_, **__):
        out["F"] = np.column_stack([np.sum(x**2, axis=1), np.sum((x - 1) ** 2, axis=1)])


class Dtlz2(Problem):
    """DTLZ2 (Deb et al. 2002), three objectives, seven variables: the front is an eighth of the unit sphere."""

    def __init__(self):
        super().__init__(n_var=7, n_obj=3, xl=0.0, xu=1.0)

    def _evaluate(self, x, out, *_, **__):
        far = 1 + np.sum((x[:, 2:] - 0.5) ** 2, axis=1)
        a, b = x[:, 0] * np.pi / 2, x[:, 1] * np.pi / 2
        out["F"] = far[:, None] * np.column_stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)])


def found_volumes(problem, divisions, reference, generations):
    directions = get_reference_directions("das-dennis", problem.n_obj, n_partitions=divisions)
    volumes = []
    for seed in range(1, 6):
        algorithm = NSGA3(pop_size=100, ref_dirs=directions)
        result = minimize(problem, algorithm, ("n_gen", generations), seed=seed)
        volumes.append(float(HV(ref_point=np.array(reference))(result.F)))
    return sorted(volumes)


hypervolumes = []
for objectives, size in [(2, 12), (3, 20), (4, 15), (5, 12)]:
    points = random.uniform(size=(size, objectives)) * 1.1
    reference = [1.0] * objectives
    hypervolumes.append({"points": points.tolist(), "reference": reference, "volume": float(HV(ref_point=np.array(reference))(points))})

directions = [
    {"objectives": m, "divisions": p, "directions": get_reference_directions("das-dennis", m, n_partitions=p).tolist()} for m, p in [(2, 9), (3, 12), (4, 5)]
]

write_compact_json(
    FIXTURES / "search" / "golden.json",
    {
        "provenance": provenance("search_goldens.py", ["cma", "pymoo", "numpy"]),
        "target": TARGET,
        "rotation": rotation.tolist(),
        "sphere": counts(sphere, 1),
        "rosenbrock": counts(rosenbrock, 0),
        "rotatedEllipsoid": counts(rotated_ellipsoid, 1),
        "hypervolumes": hypervolumes,
        "directions": directions,
        "twoCorners": found_volumes(TwoCorners(), 99, [2, 2], 150),
        "dtlz2": found_volumes(Dtlz2(), 12, [1.1, 1.1, 1.1], 150),
    },
)
