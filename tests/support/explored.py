"""Tasks of every kind as the explorer meets them, and batches compared."""

from typing import Any

from sleepkit import tasks
from sleepkit.tasks import Batch, Task, explore
from tests.support.compare import assert_same_bits

SINGLE: dict[str, Any] = {"names": "single", "n_nodes": 8, "n_symbols": 12, "n_hops": 4, "n_queries": 8, "window_len": 32}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "rule110": ("rule110", {"width": 16, "rollout_depth": list(range(1, 11))}),
    "rule110-fixed": ("rule110", {"width": 64, "n_strings": 2, "rollout_depth": 12, "strings_per_window": 2}),
    "depo": ("depo", {**SINGLE, "test_hops": [1, 2, 3, 4]}),
    "depo-paper": ("depo", {}),
    "depo-1-2": ("depo", {"names": "1-2", "n_nodes": 9, "n_symbols": 3, "n_queries": 3, "window_len": 18}),
    "depo-aligned": ("depo", {"align_edges": True, "n_nodes": 40}),
    "gsm": ("gsm", {}),
    "gsm-last": ("gsm", {"n_ops": 5, "question": "last", "modulus": 23, "max_constant": 9}),
    "gsm-english": ("gsm", {"n_ops": 3, "rendering": "english", "modulus": 23, "context_len": 700, "window_len": 300}),
    "gsm-leaves": ("gsm", {"n_ops": 2, "forms": ["leaf", "copy"], "question": "last"}),
    "affine": ("affine", {}),
    "affine-3": ("affine", {"modulus": 3, "n_maps": 12, "n_queries": 5, "depths": [1, 5, 12], "window_len": 10}),
    "circuit": ("circuit", {}),
    "circuit-sums": ("circuit", {"gates": ["xor", "xnor"], "n_inputs": 7, "n_gates": 15, "n_levels": 5, "n_queries": 1}),
    "images": ("permutations", {}),
    "elements": ("permutations", {"group": "S4xZ5", "written": "elements", "window_len": 4}),
    "pointers": ("pointer-chasing", {}),
    "pointers-12": ("pointer-chasing", {"n_nodes": 12, "n_hops": 6, "n_queries": 3, "window_len": 16}),
}


def make(case: str) -> Task:
    name, options = CASES[case]
    return tasks.create(name, **options)


def depth_beside(task: Task, batch: Batch) -> int | None:
    """The depth to give beside a written example: the one of all questions, None if it stands in the text."""
    depths = set(batch.coords["depth"][batch.asked].tolist())
    return None if explore.depth_in_text(task) or len(depths) > 1 else depths.pop()


def assert_same_batch(actual: Batch, expected: Batch) -> None:
    for name in ("tokens", "targets", "segment", "answer_id"):
        assert_same_bits(getattr(actual, name), getattr(expected, name), what=name)
    assert actual.coords.keys() == expected.coords.keys()
    for name, coord in actual.coords.items():
        assert_same_bits(coord, expected.coords[name], what=name)
