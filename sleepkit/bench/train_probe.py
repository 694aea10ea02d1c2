"""Time the steps of a training run of whatever sleepkit is on the path: this revision or an earlier one.

Run by path, in a process of its own: ``python -P train_probe.py ORDER`` with ORDER as JSON: ``tree`` (the folder sleepkit must
come from) and ``settings`` (whole TrainSettings, because a preset may mean something else in another revision). Uses only names
that every revision has. Prints one line of JSON.
"""

import dataclasses
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Train, and print per step its N, its loss and its seconds; the first includes making the model."""
    order = json.loads(sys.argv[1])
    import sleepkit as sk

    found = Path(sk.__file__).resolve().parents[1]
    if found != Path(order["tree"]).resolve():
        sys.exit(f"sleepkit: must come from {order['tree']}, got {found}")
    dropped: list[str] = []
    plain = known(order["settings"], sk.TrainSettings, "", dropped)
    for name, part in (("model", sk.ModelConfig), ("sleep", sk.SleepConfig), ("optimiser", sk.OptimiserSettings)):
        plain[name] = known(plain[name], part, f"{name}.", dropped)
    settings = sk.TrainSettings.from_dict(plain)
    seen: list[tuple[float, dict[str, Any]]] = []
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        sk.train(
            settings,
            folder=Path(folder) / "run",
            progress=False,
            on_row=lambda _step, row: seen.append((time.perf_counter(), row)),
        )
    moments = [began, *(moment for moment, _ in seen)]
    report = {
        "n_passes": [int(row["n_passes_drawn"]) for _, row in seen],
        "loss": [row["loss"] for _, row in seen],
        "seconds": [after - before for before, after in itertools.pairwise(moments)],
        "seq_len": settings.task.create().seq_len,
        "dropped": dropped,
    }
    print(json.dumps(report))


def known(plain: dict[str, Any], settings: Any, prefix: str, dropped: list[str]) -> dict[str, Any]:
    """Keep the settings this revision has, and name the others."""
    names = {field.name for field in dataclasses.fields(settings)}
    dropped += [prefix + name for name in plain if name not in names]
    return {name: value for name, value in plain.items() if name in names}


if __name__ == "__main__":
    main()
