"""Rows of the performance table (docs/performance.md): few and telling, ratios first, each with the target it is held against."""

from collections.abc import Callable
from typing import Any

from sleepkit.bench.targets import verdicts

Row = tuple[str, str]
# What each figure is held against, by the kind of row; a kind without one shows the figure alone.
TARGETS: dict[str, str] = {
    "ops B64 H4 L24 K64 V64": ">= 6",
    "ops B32 H4 L75 K64 V64": ">= 4",
    "ops B1 H8 L2048 K128 V128": ">= 2.5",
    "train": ">= 2.5",
    "linearity": "within 10 %",
    "memory": "<= 1.3",
    "token by N": "1.00 +- 0.03",
    "token by age": "1.00 +- 0.03",
    "bytes": "1.00",
}


def held_against(kind: str, figure: str) -> str:
    """Return "target X, measured Y", or the figure alone if its kind has no target or nothing was measured."""
    measured = kind in TARGETS and not figure.startswith("not measured")
    return f"target {TARGETS[kind]}, measured {figure}" if measured else figure


def _ops(results: dict[str, Any]) -> list[Row]:
    rows = []
    for shape, ratios in results["ratios"]["gated_delta_rule"].items():
        part = results["gated_delta_rule"][shape]
        rows.append(
            (
                f"gated delta rule, forward + backward, fp32, {shape}: time of {results['peer']} : ours",
                held_against(f"ops {shape}", _contest(ratios, part)),
            )
        )
    for shape, ratios in results["ratios"]["short_conv"].items():
        what = f"short convolution, forward + backward, fp32, {shape}: time of conv1d : ours"
        rows.append((what, held_against(f"ops {shape}", _contest(ratios, results["short_conv"][shape]))))
    return rows


def _contest(ratios: dict[str, Any], part: dict[str, Any]) -> str:
    """Every implementation of ours against every peer, the fastest first; its milliseconds and share of a ceiling last."""
    both = ratios.get("forward_backward", {})
    if not both:
        reasons = [f"{name}: {found['unavailable']}" for name, found in part["agreement"].items() if "unavailable" in found]
        return f"not measured ({'; '.join(reasons)})"
    ordered = sorted(both.items(), key=lambda item: -item[1]["median"])
    fastest = ordered[0][0].split(" : ")[1]
    rates = part["forward_backward"][fastest]
    flops, moved = (f"{100 * rates[name]:.2g} %" for name in ("share_of_matmul", "share_of_copy"))
    listed = ", ".join(f"{_side(name, both)} {_spread(ratio)}" for name, ratio in ordered)
    return f"{listed}; {fastest} {rates['ms']['median']:.3g} ms, {flops} of a large matmul's FLOP/s, {moved} of a copy's bytes/s"


def _side(name: str, ratios: dict[str, Any]) -> str:
    """Ours of "peer : ours"; both if there is more than one peer."""
    peers = {other.split(" : ")[0] for other in ratios}
    return name if len(peers) > 1 else name.split(" : ")[1]


def _train(results: dict[str, Any]) -> list[Row]:
    rows = []
    for batch, part in results["throughput"].items():
        what = f"training rule110-explorer, {batch}, tokens/s: this version : {results['against'] or 'an earlier one'}"
        rows.append((what, held_against("train", _throughput(results, batch, part))))
    line = results["linearity"]
    if "unavailable" in line:
        rows.append(("training step against the passes made", f"not measured ({line['unavailable']})"))
    else:
        counts = ", ".join(line["by_n_passes"])
        what = f"training step at N = {counts}: largest deviation from a + b x FLOPs of the passes made"
        rows.append((what, held_against("linearity", f"{line['largest_deviation_percent']:.2g} %")))
    bounds = [
        f"{name} {_spread(part['ratios']['forward_backward'])}"
        for name, part in results["windows_at_once_bound"].items()
        if "ratios" in part
    ]
    what = (
        "training at N = 1, all context windows in turn : all at once, forward + backward: the most a diagonal order could gain"
    )
    rows.append((what, held_against("bound", ", ".join(bounds) or "not measured")))
    return rows


def _throughput(results: dict[str, Any], batch: str, part: dict[str, Any]) -> str:
    against = results["against"]
    if "unavailable" in part:
        return f"not measured ({part['unavailable']})"
    if against is None:
        return "not measured (no --against)"
    before = part["variants"][against]
    if "unavailable" in before:
        return f"not measured ({before['unavailable']})"
    ratios = results["ratios"][batch]
    listed = [
        f"{name} not measured"
        if "unavailable" in variant
        else f"{name} {_spread(ratios[f'{name} : {against}'])}, {_rate(variant)}"
        for name, variant in part["variants"].items()
        if name != against
    ]
    return f"{'; '.join(listed)}; before {_rate(before)}"


def _rate(variant: dict[str, Any]) -> str:
    return f"{variant['tokens_per_s']['median']:,.0f} tokens/s"


def _latency(results: dict[str, Any]) -> list[Row]:
    ratios, age, held = results["ratios"], results["token_by_age"], results["bytes_held"]
    by_n, by_age = results["token_by_n_passes"]["us"], age["us"]
    first, last = next(iter(by_n)), list(by_n)[-1]
    young, old = (age["n_read"][name] for name in ("young", "old"))
    sleeps = ratios["sleep : (N - 1) passes"]
    n_slept, grown = list(sleeps)[-1], ratios["bytes held, at the end : after one window"]
    figures = {
        "token by N": (
            f"time per predicted token, N = {last} : N = {first}",
            f"{_spread(ratios['token, largest N : smallest N'])}; {_us(by_n[last])} : {_us(by_n[first])}",
        ),
        "token by age": (
            f"time per predicted token, after {old:,} tokens : after {young:,}",
            f"{_spread(ratios['token, old session : young session'])}; {_us(by_age['old'])} : {_us(by_age['young'])}",
        ),
        "sleep": (
            f"time of a sleep, N = {n_slept} : {int(n_slept) - 1} whole passes over the window",
            f"{_spread(sleeps[n_slept])}; a pass {_us(results['sleep']['us_per_pass'])}",
        ),
        "bytes": (
            f"bytes held, after {held['n_read']:,} tokens : after one window",
            f"{grown:.2f}; {held['bytes_at_the_end']:,} : {held['bytes_after_one_window']:,}",
        ),
    }
    return [(what, held_against(kind, figure)) for kind, (what, figure) in figures.items()]


def _us(times: dict[str, Any]) -> str:
    return f"{times['median']:.0f} us"


def _memory(results: dict[str, Any]) -> list[Row]:
    rows = []
    for name, model in results["models"].items():
        peaks: list[str] = []
        times: list[str] = []
        for what, ratio in results["ratios"][name].items():
            kind, _, cases = what.partition(", ")
            if kind == "memory":
                peaks.append(f"{cases}: {ratio:.3g}")
            elif not cases.startswith("N = 1,"):
                times.append(f"{cases}: {_spread(ratio)}")
        what = f"training step of {name}, batch {model['batch_size']}"
        rows.append(
            (f"{what}: peak memory, by what is kept for backward", held_against("memory", "; ".join(peaks) or "not measured"))
        )
        rows.append(
            (f"{what}: time, by what is kept for backward", held_against("recomputing", "; ".join(times) or "not measured"))
        )
    return rows


def _session(results: dict[str, Any]) -> list[Row]:
    first, last = results["us_per_token_first_tenth"], results["us_per_token_last_tenth"]
    held = (results["bytes_held_first_window"], results["bytes_held_last_window"])
    peak = (results["process_peak_MiB_after_first_tenth"], results["process_peak_MiB_at_end"])
    stream = f"a session reading {results['n_tokens']:,} tokens one by one, N = {results['n_passes']}"
    return [
        (
            f"{stream}: time per token, sleeps included, last tenth : first tenth",
            f"{last:.0f} us : {first:.0f} us = {last / first:.2f}",
        ),
        (f"{stream}: bytes held, last window : first window", f"{held[1]:,} : {held[0]:,} = {held[1] / held[0]:.2f}"),
        (f"{stream}: peak memory of the process, end : after a tenth", f"{peak[1]} MiB : {peak[0]} MiB"),
    ]


def _tasks(results: dict[str, Any]) -> list[Row]:
    return [(f"examples made on one core: {name}", _made(rate)) for name, rate in results.items()]


def _made(rate: dict[str, Any]) -> str:
    tokens = f"{rate['Mtokens_per_s']:.3g} M tokens/s ({rate['lowest']:.3g}-{rate['highest']:.3g})"
    return f"{tokens}, {rate['examples_per_s']:,} examples/s"


def _dashboard(results: dict[str, Any]) -> list[Row]:
    rows = verdicts(results)
    return [("dashboard: targets met, each in a table of its own", f"{sum(each.met for each in rows)} of {len(rows)}")]


def _spread(ratio: dict[str, Any]) -> str:
    """A ratio with its quartiles."""
    low, high = ratio["quartiles"]
    return f"{ratio['median']:.3g} ({low:.3g}-{high:.3g})"


ROWS: dict[str, Callable[[dict[str, Any]], list[Row]]] = {
    "ops": _ops,
    "train": _train,
    "latency": _latency,
    "memory": _memory,
    "session": _session,
    "tasks": _tasks,
    "dashboard": _dashboard,
}
