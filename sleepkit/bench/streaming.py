"""A session that reads a long stream: time per token and bytes held must not grow with what was read."""

import resource
import statistics
import time
from typing import Any

import torch

from sleepkit import zoo
from sleepkit.sleep import Session, SleepConfig

_MODEL = "rule110-explorer"


def measure(*, n_tokens: int = 100_000, n_passes: int = 4, piece_len: int = 1) -> dict[str, Any]:
    """Read ``n_tokens`` tokens one by one and compare the first and the last tenth."""
    model, card = zoo.load(_MODEL)
    task = card.task
    n_examples = -(-n_tokens // task.seq_len)
    tokens = task.batch("test", 0, n_examples).tokens.reshape(1, -1)[:, :n_tokens]
    session = Session(model, SleepConfig(n_passes=n_passes, window_len=card.sleep.window_len))
    times, held, peaks = [], [], []
    for start in range(0, n_tokens, piece_len):
        began = time.perf_counter()
        session.read(tokens[:, start : start + piece_len])
        times.append((time.perf_counter() - began) / piece_len)
        if session.cache_len == card.sleep.window_len - 1:
            held.append(session.n_bytes)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    tenth = len(times) // 10
    first, last = times[100 : 100 + tenth], times[-tenth:]
    return {
        "model": _MODEL,
        "n_tokens": n_tokens,
        "n_passes": n_passes,
        "n_sleeps": session.n_sleeps,
        "n_threads": torch.get_num_threads(),
        "us_per_token_first_tenth": round(1e6 * statistics.mean(first), 1),
        "us_per_token_last_tenth": round(1e6 * statistics.mean(last), 1),
        "us_per_token_median_first_tenth": round(1e6 * statistics.median(first), 1),
        "us_per_token_median_last_tenth": round(1e6 * statistics.median(last), 1),
        "bytes_held_first_window": held[0],
        "bytes_held_last_window": held[-1],
        "process_peak_MiB_after_first_tenth": round(peaks[len(peaks) // 10] / 1024, 1),
        "process_peak_MiB_at_end": round(peaks[-1] / 1024, 1),
    }
