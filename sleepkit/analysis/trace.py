"""Everything one example shows while a model reads it, sleeps on it and answers: fast weights, attention, answers.

Axes: B = 1 example, T token, H head, K key channel, V value channel, Q query, S key position.
"""

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr

from sleepkit.errors import require
from sleepkit.model import HybridLM, PassView
from sleepkit.model.finite import refuse_spoilt
from sleepkit.results import as_attrs, provenance
from sleepkit.sleep import Eviction, SleepConfig, Window, rollout, schedule
from sleepkit.tasks import NOTHING_ASKED, Batch, Split, Task
from sleepkit.tasks.explore import Explorable, reasoning


def trace(
    model: HybridLM,
    task: Task,
    *,
    n_passes: int = 4,
    index: int = 0,
    window_len: int | None = None,
    eviction: Eviction = "hard",
    split: Split = "test",
) -> xr.DataTree:
    """Record one example of a task, pass by pass, with the same rollout that trains and evaluates.

    Args:
        model: the model.
        task: where the example comes from.
        n_passes: N.
        index: which example of the split.
        window_len: L; the task's own if None.
        eviction: what leaves the KV cache after sleep, "hard" or "sliding".
        split: "validation", "test" or "train".

    Returns:
        A tree of five Datasets:

        /fast_weights ``state`` [window, sleep_pass, layer, head, key, value]: S after each pass; sleep_pass 0 is before the
            window, 1 after reading; NaN where a window has no such pass (windows with a question get one).
        /attention ``weights`` [window, sleep_pass, layer, head, query, position]: softmax weights of each pass (from 1),
            NaN outside the window; ``carried`` [window, sleep_pass, layer, head, query]: what a query gives to tokens of earlier
            windows, all together (sliding eviction; 0 under hard eviction). For each query the two add up to 1.
        /tokens by ``token``: id, text, segment, target, window; by ``window``: start, stop, asleep, n_passes.
        /answers by ``answer``: depth, truth, predicted (texts), right, p_true; ``probability`` [answer, choice].
        /reasoning by ``answer`` and ``step``: the true way to each answer, whatever the model does: text, position
            (``sleepkit.tasks.explore.reasoning``). A task that is not ``Explorable`` has no such group.

    Raises:
        InvalidInputError: for an N that is not a positive integer, a negative index, a window shorter than the label block or an
            unknown eviction.
    """
    length = task.window_len if window_len is None else window_len
    sleep = SleepConfig(n_passes=n_passes, window_len=length, eviction=eviction)
    return trace_batch(model, task, task.batch(split, index, 1), sleep, label=f"{split}[{index}]")


def trace_batch(
    model: HybridLM,
    task: Task,
    batch: Batch,
    sleep: SleepConfig,
    *,
    label: str = "",
    on_pass: Callable[[int, int], None] | None = None,
) -> xr.DataTree:
    """Record a batch of one example; ``trace`` describes what comes back.

    Args:
        model: the model.
        task: what the batch is an example of.
        batch: one example.
        sleep: N, window length and eviction.
        label: name of the example, kept in the attributes.
        on_pass: called after each pass with passes done and passes in all; may raise to cancel.

    Raises:
        InvalidInputError: if the batch does not hold exactly one example, or a weight of the model is NaN or infinite.
    """
    require(batch.size == 1, "batch", "must hold one example", batch.size)
    refuse_spoilt(model)
    views: dict[tuple[int, int], PassView] = {}

    windows = schedule(batch, sleep.window_len)
    n_all = sum(sleep.n_passes if window.asleep else 1 for window in windows)

    def record(number: int, _window: Window, view: PassView) -> None:
        views[number, view.n_pass] = view
        if on_pass is not None:
            on_pass(len(views), n_all)

    with torch.no_grad():
        result = rollout(model, batch.to(model.embedding.weight.device), sleep, trace=record, windows=windows)
    attrs = {
        "task": task.name,
        "task_options": task.config.to_dict(),
        "example": label,
        "n_passes": sleep.n_passes,
        "window_len": sleep.window_len,
        "eviction": sleep.eviction,
        "model": model.config.to_dict(),
        **provenance(),
    }
    groups = {
        "/": xr.Dataset(attrs=as_attrs(attrs)),
        "/fast_weights": _fast_weights(model, views, windows, sleep.n_passes),
        "/attention": _attention(model, views, windows, sleep.n_passes),
        "/tokens": _tokens(task, batch, windows, sleep.n_passes),
        "/answers": _answers(task, batch, result.logits[0].double().cpu()),
    }
    if isinstance(task, Explorable):
        groups["/reasoning"] = reasoning(task, batch)
    return xr.DataTree.from_dict(groups)


def _fast_weights(model: HybridLM, views: dict[tuple[int, int], PassView], windows: list[Window], n_passes: int) -> xr.Dataset:
    config = model.config
    layers = list(config.fast_layers)
    shape = (len(windows), n_passes + 1, len(layers), config.n_heads, config.key_channels, config.value_channels)
    states = np.full(shape, np.nan, dtype=np.float32)
    before = np.zeros(shape[2:], dtype=np.float32)
    for number in range(len(windows)):
        states[number, 0] = before
        for n_pass in range(1, n_passes + 1):
            view = views.get((number, n_pass))
            if view is not None:
                before = np.stack([_array(view.state.fast_weights[layer]) for layer in layers]) if layers else before
                states[number, n_pass] = before
    dims = ("window", "sleep_pass", "layer", "head", "key", "value")
    return xr.Dataset({"state": (dims, states)}, coords={"sleep_pass": np.arange(n_passes + 1), "layer": layers})


def _array(weights: torch.Tensor | None) -> np.ndarray:
    assert weights is not None
    return weights[0].float().cpu().numpy()


def _attention(model: HybridLM, views: dict[tuple[int, int], PassView], windows: list[Window], n_passes: int) -> xr.Dataset:
    layers = [number for number, kind in enumerate(model.config.layer_kinds) if kind == "attn"]
    longest = max(window.stop - window.start for window in windows)
    shape = (len(windows), n_passes, len(layers), model.config.n_heads, longest, longest)
    weights, carried = np.full(shape, np.nan, dtype=np.float32), np.full(shape[:-1], np.nan, dtype=np.float32)
    for (number, n_pass), view in views.items():
        for place, layer in enumerate(layers):
            if layer in view.attention:
                attention = view.attention[layer][0].float().cpu().numpy()
                n_queries, n_keys = attention.shape[1:]
                earlier, own = np.split(attention, [n_keys - n_queries], axis=2)
                weights[number, n_pass - 1, place, :, :n_queries, :n_queries] = own
                carried[number, n_pass - 1, place, :, :n_queries] = earlier.sum(axis=2)
    dims = ("window", "sleep_pass", "layer", "head", "query", "position")
    variables = {"weights": (dims, weights), "carried": (dims[:-1], carried)}
    return xr.Dataset(variables, coords={"sleep_pass": np.arange(1, n_passes + 1), "layer": layers})


def _tokens(task: Task, batch: Batch, windows: list[Window], n_passes: int) -> xr.Dataset:
    ids = batch.tokens[0].numpy()
    window_of = np.full(len(ids), -1)
    for number, window in enumerate(windows):
        window_of[window.start : window.stop] = number
    vocab = np.array(task.vocab, dtype=str)
    return xr.Dataset(
        {
            "id": ("token", ids),
            "text": ("token", vocab[ids]),
            "segment": ("token", batch.segment[0].numpy().copy()),
            "target": ("token", batch.targets[0].numpy()),
            "window_of": ("token", window_of),
            "start": ("window", [window.start for window in windows]),
            "stop": ("window", [window.stop for window in windows]),
            "asleep": ("window", [int(window.asleep) for window in windows]),
            "n_passes": ("window", [n_passes if window.asleep else 1 for window in windows]),
        }
    )


def _answers(task: Task, batch: Batch, logits_TW: torch.Tensor) -> xr.Dataset:
    """Answers as texts; the probability of an answer of several tokens is the product over its tokens."""
    targets, answer_id = batch.targets[0], batch.answer_id[0]
    asked = (targets != NOTHING_ASKED).nonzero()[:, 0]
    probability = logits_TW[asked].softmax(dim=-1)
    best = probability.argmax(dim=-1)
    p_target = probability.gather(1, targets[asked][:, None])[:, 0]
    belongs = answer_id[asked]
    beyond = range(len(task.vocab), logits_TW.shape[1])  # a model may know more tokens than its task
    vocab, numbers = [*task.vocab, *(f"[{token}]" for token in beyond)], batch.asked[0].nonzero()[:, 0].tolist()

    def text(ids: torch.Tensor, answer: int) -> str:
        return " ".join(vocab[int(token)] for token in ids[belongs == answer])

    truth = [text(targets[asked], answer) for answer in numbers]
    predicted = [text(best, answer) for answer in numbers]
    first = [int((belongs == answer).int().argmax()) for answer in numbers]
    choices = np.array(vocab, dtype=str)
    return xr.Dataset(
        {
            "depth": ("answer", batch.coords["depth"][0, numbers].numpy()),
            "truth": ("answer", np.array(truth, dtype=str)),
            "predicted": ("answer", np.array(predicted, dtype=str)),
            "right": ("answer", np.array([int(a == b) for a, b in zip(truth, predicted, strict=True)])),
            "p_true": ("answer", [float(p_target[belongs == answer].prod()) for answer in numbers]),
            "probability": (("answer", "choice"), probability[first].numpy()),
        },
        coords={"choice": choices},
    )
