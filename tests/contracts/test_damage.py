"""Everything that is saved is read back equal or refused in one line, whatever happened to its bytes in between."""

import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import xarray as xr

from sleepkit import results, zoo
from sleepkit.errors import SleepkitError
from sleepkit.files import seals
from sleepkit.model import HybridLM
from sleepkit.sleep import Session, SleepConfig
from sleepkit.training import build_model
from sleepkit.training.checkpoint import claim_folder, load_newest, read_settings, save_checkpoint
from sleepkit.training.live import LIVE, LiveLog, read_live
from sleepkit.training.optimiser import Optimiser
from tests.support.models import random_tokens, small_model
from tests.support.runs import tiny_settings

N_DAMAGES = 6  # of each way, for each file


class Kind(NamedTuple):
    """A kind of saved thing: how it is made in a folder, and what is found there, as text that is equal where all is equal."""

    make: Callable[[Path], None]
    read: Callable[[Path], str]


def tensors_of(module: torch.nn.Module) -> str:
    return repr([(name, value.dtype, value.numpy().tobytes()) for name, value in module.state_dict().items()])


def a_dataset() -> xr.Dataset:
    values = {"loss": ("step", np.linspace(0, 1, 300)), "word": ("token", np.array(["0", "[SEP]"]))}
    return xr.Dataset(values, coords={"step": np.arange(300)}, attrs={"seed": 3, "text": "é"})


def dataset_text(data: xr.Dataset) -> str:
    return repr([(str(name), each.dims, each.values.tolist(), dict(each.attrs)) for name, each in data.variables.items()]) + repr(
        sorted((name, str(value)) for name, value in data.attrs.items())
    )


def make_dataset(folder: Path) -> None:
    results.save(a_dataset(), folder / "history.nc")


def make_tree(folder: Path) -> None:
    results.save(xr.DataTree.from_dict({"/": xr.Dataset(attrs={"a": 1}), "/answers": a_dataset()}), folder / "trace.nc")


def make_session(folder: Path) -> None:
    session = Session(small_model(), SleepConfig(n_passes=2, window_len=4))
    session.read(random_tokens(1, 6))
    session.save(folder / "session")


def read_session(folder: Path) -> str:
    session = Session.load(folder / "session", small_model())
    logits = session.predict(random_tokens(1, 3, seed=1))
    return repr((session.sleep_config, session.n_read, session.n_sleeps, session.cache_len, logits.numpy().tobytes()))


def a_trainer() -> tuple[HybridLM, Optimiser]:
    settings = tiny_settings()
    model = build_model(settings)
    return model, Optimiser(model, settings.optimiser, steps=settings.steps)


def make_checkpoint(folder: Path) -> None:
    model, optimiser = a_trainer()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.update()
    save_checkpoint(folder, 3, model, optimiser, {"rows": [{"step": 3, "loss": 0.5}], "elapsed_s": 1.5})


def read_checkpoint(folder: Path) -> str:
    model, optimiser = a_trainer()
    progress = load_newest(folder, model, optimiser)
    state = {name: value.numpy().tobytes() for name, value in sorted(optimiser.state_tensors().items())}
    return repr((tensors_of(model), state, progress and progress["rows"], progress and progress["step"]))


def make_log(folder: Path) -> None:
    log = LiveLog(folder)
    log.begin([{"step": 1.0, "loss": 2.0}], [])
    log.row({"step": 2.0, "loss": 1.0})
    log.end("finished")
    log.close()


def read_log(folder: Path) -> str:
    told = read_live(folder)
    return "".join(map(repr, filter(None, (told.began, *told.rows, told.outcome))))


def copy_bundled(folder: Path) -> None:
    shutil.copytree(Path(zoo.__file__).parent / "rule110-n1", folder / "rule110-n1", ignore=shutil.ignore_patterns("opening*"))


def read_bundled(folder: Path) -> str:
    (model, card), probe = zoo.load(str(folder / "rule110-n1")), zoo.load_probe(str(folder / "rule110-n1"))
    parts = {name: value.tobytes() for name, value in sorted(probe.tensors.items())}
    said = (card.summary, card.settings, sorted(card.provenance.items()), dataset_text(card.accuracy), dataset_text(probe.counts))
    return repr((tensors_of(model), said, parts, probe.task_options, probe.sleep))


KINDS = {
    "dataset": Kind(make_dataset, lambda folder: dataset_text(results.load(folder / "history.nc"))),
    "tree": Kind(make_tree, lambda folder: dataset_text(results.load_tree(folder / "trace.nc")["answers"].to_dataset())),
    "model": Kind(lambda folder: small_model().save(folder / "m"), lambda folder: tensors_of(HybridLM.load(folder / "m"))),
    "session": Kind(make_session, read_session),
    "checkpoint": Kind(make_checkpoint, read_checkpoint),
    "settings": Kind(lambda folder: claim_folder(folder, tiny_settings()), lambda folder: repr(read_settings(folder))),
    "live log": Kind(make_log, read_log),
    "bundled model": Kind(copy_bundled, read_bundled),
}


def flip(data: bytearray, dice: random.Random) -> None:
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def cut(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(len(data)) :]


def zero(data: bytearray, dice: random.Random) -> None:
    start, length = dice.randrange(len(data)), dice.choice((16, 512, 4096))
    data[start : start + length] = bytes(len(data[start : start + length]))


def swap(data: bytearray, dice: random.Random) -> None:
    length = min(dice.choice((1, 8, 64, 1024)), len(data) // 2)
    first = dice.randrange(len(data) - 2 * length + 1)
    second = dice.randrange(first + length, len(data) - length + 1)
    one, other = data[first : first + length], data[second : second + length]
    data[first : first + length], data[second : second + length] = other, one


def grow(data: bytearray, dice: random.Random) -> None:
    data.extend(dice.randbytes(dice.choice((1, 72, 500))))


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_in_one_line_or_changes_nothing(tmp_path: Path, kind: str) -> None:
    KINDS[kind].make(tmp_path)
    expected, dice = KINDS[kind].read(tmp_path), random.Random(kind)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".md")
    assert files
    for path in files:
        whole = path.read_bytes()
        for damage in [flip, cut, zero, swap, grow] * N_DAMAGES:
            data = bytearray(whole)
            damage(data, dice)
            path.write_bytes(data)
            if data != whole:
                assert_refused_or_equal(KINDS[kind].read, tmp_path, expected, f"{damage.__name__} in {path.name}")
        path.write_bytes(whole)
    assert KINDS[kind].read(tmp_path) == expected


def assert_refused_or_equal(read: Callable[[Path], str], folder: Path, expected: str, what: str) -> None:
    found, refusal = "", ""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*holds no digest")  # a cut may take the digest and nothing else
        try:
            found = read(folder)
        except SleepkitError as error:
            refusal = str(error)
    if (folder / LIVE).exists() and not refusal:  # what was cut off a log's end may never have been written
        assert expected.startswith(found), what
    else:
        assert (refusal and "\n" not in refusal) or found == expected, what


@pytest.mark.parametrize("other", ["model.safetensors", "optimiser.safetensors"])
def test_files_of_two_checkpoints_are_no_checkpoint(tmp_path: Path, other: str) -> None:
    make_checkpoint(tmp_path)
    model, optimiser = a_trainer()
    save_checkpoint(tmp_path / "later", 3, model, optimiser, {"rows": [], "elapsed_s": 2.0})
    shutil.copy(tmp_path / "later" / "checkpoint-00000003" / other, tmp_path / "checkpoint-00000003" / other)
    with pytest.raises(SleepkitError, match=f"{other} of another checkpoint"):
        read_checkpoint(tmp_path)


def test_the_tensors_of_another_session_are_refused(tmp_path: Path) -> None:
    make_session(tmp_path)
    session = Session.load(tmp_path / "session", small_model())
    session.sleep()
    session.save(tmp_path / "later")
    shutil.copy(tmp_path / "later" / "session.safetensors", tmp_path / "session" / "session.safetensors")
    with pytest.raises(SleepkitError, match=r"session\.safetensors of another session"):
        read_session(tmp_path)


def test_digests_of_bundled_files_are_there() -> None:
    root = Path(zoo.__file__).parent
    for path in sorted(root.glob("*/*.json")):
        assert seals.KEY in seals.json.loads(path.read_text()), path
