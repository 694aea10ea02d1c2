"""Figure 6 of Lee et al. 2026: what windows in turn cost against all at once, and what N passes cost.

A sequence is read window by window, each slept on with N passes, and the gradient is taken through all of it. "At once" are the
same windows as one batch at N = 1, as if none waited for the fast weights of the one before: the most parallel a machine can be.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from sleepkit import published, results
from sleepkit.bench import measure
from sleepkit.errors import StoreError, require
from sleepkit.experiments.figures import results_path
from sleepkit.experiments.verdicts import Outcome, Verdict
from sleepkit.model import HybridLM, ModelConfig
from sleepkit.settings import Settings, settings

_LAYERS = "attn gdn attn gdn"


@settings
class WindowsSettings(Settings):
    """Settings of the measurement.

    Attributes:
        width: E, of a model of four layers, attention and fast weights in turn.
        layers: its layers.
        seq_len: T, tokens of a sequence; every window length must divide it.
        window_lens: the L to try.
        n_passes: the N to try; the first must be 1.
        batch_size: sequences at a time.
        rounds: rounds in which all take turns.
        device: "cpu" or "cuda".
        n_threads: CPU threads; 0 leaves torch's choice.
    """

    width: int = 128
    layers: str = _LAYERS
    seq_len: int = 1536
    window_lens: tuple[int, ...] = (64, 128, 256)
    n_passes: tuple[int, ...] = (1, 2, 4)
    batch_size: int = 4
    rounds: int = 5
    device: str = "cpu"
    n_threads: int = 0

    def check(self) -> None:
        """Refuse windows that do not fill the sequence, and counts without N = 1."""
        for window_len in self.window_lens:
            whole = window_len >= 1 and self.seq_len % window_len == 0
            require(whole, "window_lens", f"must divide seq_len={self.seq_len}", window_len)
        require(self.n_passes[:1] == (1,), "n_passes", "must start with 1", self.n_passes)


SIZES = {
    "smoke": WindowsSettings(width=32, seq_len=96, window_lens=(24, 48), n_passes=(1, 2), batch_size=1, rounds=3, n_threads=1),
    "cpu": WindowsSettings(n_threads=1),
    "paper": WindowsSettings(
        width=512, layers=" ".join(["attn gdn"] * 5), seq_len=12_000, window_lens=(1000, 2000, 4000), batch_size=1, device="cuda"
    ),
}


def measure_windows(given: WindowsSettings, *, progress: bool = False) -> xr.Dataset:
    """Time all window lengths and N in turns.

    Returns:
        Dataset over window_len, n_passes and round: ``seconds`` of a forward with its backward over the whole sequence, and
        ``at_once_seconds`` over window_len and round; attributes settings and provenance.
    """
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=64, width=given.width, layers=given.layers, n_heads=max(1, given.width // 64))
    model = HybridLM(config).to(given.device)
    tokens = torch.randint(64, (given.batch_size, given.seq_len), device=given.device)
    calls: dict[str, Callable[[], object]] = {}
    for window_len in given.window_lens:
        pieces = list(torch.split(tokens, window_len, dim=1))
        calls[f"{window_len} at once"] = _call(model, [torch.cat(pieces)], 1)
        calls |= {f"{window_len} {n}": _call(model, pieces, n) for n in given.n_passes}
    with measure.threads(given.n_threads) as n_threads:
        seconds = measure.interleave(calls, rounds=given.rounds, warmups=1, device=given.device, progress=progress)
    grid = [[seconds[f"{window_len} {n}"] for n in given.n_passes] for window_len in given.window_lens]
    at_once = [seconds[f"{window_len} at once"] for window_len in given.window_lens]
    return xr.Dataset(
        {"seconds": (("window_len", "n_passes", "round"), grid), "at_once_seconds": (("window_len", "round"), at_once)},
        coords={"window_len": list(given.window_lens), "n_passes": list(given.n_passes)},
        attrs=results.as_attrs({"settings": given.to_dict(), "threads_used": n_threads, **results.provenance()}),
    )


def load_or_measure(size: str, *, progress: bool = True) -> xr.Dataset:
    """Read the committed measurement if there is one, otherwise make it.

    Raises:
        InvalidInputError: for an unknown size.
        StoreError: if there is a file, but damaged or of other settings.
    """
    require(size in SIZES, "size", f"must be one of {', '.join(SIZES)}", size)
    path, given = results_path("fig6", size), SIZES[size]
    if not path.exists():
        return measure_windows(given, progress=progress)
    found = results.load(path)
    if WindowsSettings.from_json(found.attrs["settings"]) != given:
        raise StoreError(f"path: must hold the measurement of size {size}, got {str(path)!r}")
    return found


def publish(size: str, *, progress: bool = True) -> Path:
    """Measure and write the results where ``load_or_measure`` finds them; return the file.

    Raises:
        InvalidInputError: for an unknown size, or outside a clone.
    """
    require(size in SIZES, "size", f"must be one of {', '.join(SIZES)}", size)
    published.require_clone("--publish", "fig6")
    return results.save(measure_windows(SIZES[size], progress=progress), results_path("fig6", size))


def judge(data: xr.Dataset) -> Verdict:
    """Judge "recurrence over windows costs little where a window fills the machine; throughput falls roughly as 1/N" (Figure 6).

    Reproduced: at the longest window, in turn takes at most 1.15 times at once (median of the rounds' ratios), and time over N
    stays within 15 % of a straight line through the smallest and largest N. Partly: one of the two. Not: neither.
    """
    longest = data.isel(window_len=-1)
    in_turn = float((longest.seconds.sel(n_passes=1) / longest.at_once_seconds).median())
    times = (data.seconds / data.seconds.sel(n_passes=1)).median("round")
    most = int(data.n_passes[-1])
    lines = 1 + (times.isel(n_passes=-1, drop=True) - 1) * (data.n_passes - 1) / (most - 1)
    bent = float(np.abs(times / lines - 1).max())
    free, straight = in_turn <= 1.15, bent <= 0.15
    outcome: Outcome = "reproduced" if free and straight else "partly" if free or straight else "not"
    last, length = float(times.isel(window_len=-1, n_passes=-1)), int(longest.window_len)
    numbers = f"in turn : at once {in_turn:.2f} at L = {length}; N = {most} takes {last:.2f} times N = 1"
    sentence = (
        f"At L = {length}, reading windows in turn takes {in_turn:.2f} times what all at once take; N = {most} takes {last:.2f} "
        f"times as long as N = 1, and time against N is a line within {bent:.0%}."
    )
    return Verdict(outcome, numbers, sentence)


def _call(model: HybridLM, pieces: list[torch.Tensor], n_passes: int) -> Callable[[], object]:
    used = list(model.layers.parameters())

    def run() -> object:
        state = model.initial_state(pieces[0].shape[0])
        for piece in pieces:
            state = model.consolidate(model.embed(piece), state, n_passes)
        total = torch.stack([layer.sum() for layer in state.fast_weights if layer is not None]).sum()
        return torch.autograd.grad(total, used, allow_unused=True)

    return run
