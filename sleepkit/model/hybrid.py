"""The hybrid language model (Lee et al. 2026, Eq. 5-6): Embed -> blocks, repeated asleep -> head.

Axes: B batch, T token, E channel, W vocabulary.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from sleepkit import ops
from sleepkit.errors import CheckpointError, InvalidInputError, require
from sleepkit.files import whole_folder
from sleepkit.model.block import Block
from sleepkit.model.config import ModelConfig
from sleepkit.model.state import AttentionCache, ModelState, WindowCache

MODEL_FORMAT = "sleepkit-model"
MODEL_VERSION = 1
TOKEN_TYPES = (torch.int64, torch.int32)


class BlocksOutput(NamedTuple):
    """Result of ``HybridLM.blocks``: the residual stream [B, T, E] and the state after the window."""

    hidden: Tensor
    state: ModelState


class PassView(NamedTuple):
    """What can be seen after one pass over a window.

    Attributes:
        n_pass: which pass, counted from 1 (pass 1 is reading, later ones are asleep).
        state: the fast weights after it.
        attention: softmax weights [B, H, T, T] by layer number.
    """

    n_pass: int
    state: ModelState
    attention: dict[int, Tensor]


class HybridLM(nn.Module):
    """Attention and fast weights in any order, with explicit state in and out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(Block(config, kind) for kind in config.layer_kinds)
        self.final_norm = nn.RMSNorm(config.width, eps=config.norm_eps)
        self.projection = nn.Linear(config.width, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.projection.weight = self.embedding.weight

    def initial_state(self, batch_size: int) -> ModelState:
        """Return empty fast weights (zeros) for a batch, on the model's device.

        Raises:
            InvalidInputError: if the batch size is not a positive integer.
        """
        _check_count("batch_size", batch_size)
        config, weight = self.config, self.embedding.weight
        shape = (batch_size, config.n_heads, config.key_channels, config.value_channels)
        wide = torch.promote_types(weight.dtype, torch.float32)
        empty = (torch.zeros(shape, device=weight.device, dtype=wide) if kind == "gdn" else None for kind in config.layer_kinds)
        return ModelState(tuple(empty))

    def embed(self, tokens_BT: Tensor) -> Tensor:
        """Look tokens up: [B, T] int64 -> [B, T, E].

        Raises:
            InvalidInputError: if the tokens are not a [B, T] integer tensor.
        """
        whole = tokens_BT.ndim == 2 and tokens_BT.dtype in TOKEN_TYPES
        require(whole, "tokens", "must be an integer tensor [B, T]", (tuple(tokens_BT.shape), tokens_BT.dtype))
        return self.embedding(tokens_BT)  # type: ignore[no-any-return]

    def blocks(
        self,
        h_BTE: Tensor,
        state: ModelState,
        n_passes: int = 1,
        *,
        valid_BT: Tensor | None = None,
        observe: Callable[[PassView], None] | None = None,
    ) -> BlocksOutput:
        """Run one window from an empty KV cache: prelude once, the looped span ``n_passes`` times, coda once.

        h, S <- Blocks(h, S) repeated (Lee et al. 2026, Eq. 6 and Algorithm 1). The residual stream goes from pass to pass as
        it is; every pass updates the fast weights. ``n_passes=1`` is the vanilla hybrid.

        Args:
            h_BTE: embedded tokens of the window, or the residual stream of an earlier pass.
            state: fast weights before the window.
            n_passes: N, passes of the looped span, 1 or more.
            valid_BT: False marks padding.
            observe: called after every pass with what can be seen then (slower: attention weights are materialised).

        Raises:
            InvalidInputError: if ``n_passes`` is not a positive integer.
        """
        _check_count("n_passes", n_passes)
        start, stop = self.config.loop_span
        for n_pass in range(1, n_passes + 1):
            capture: dict[int, list[Tensor]] | None = None if observe is None else {}
            if n_pass == 1 and start > 0:
                h_BTE, state, _ = self.run_layers(h_BTE, state, (0, start), valid_BT=valid_BT, capture=capture)
            h_BTE, state, _ = self.run_layers(h_BTE, state, (start, stop), valid_BT=valid_BT, capture=capture)
            if n_pass == n_passes and stop < self.config.n_layers:
                coda = (stop, self.config.n_layers)
                h_BTE, state, _ = self.run_layers(h_BTE, state, coda, valid_BT=valid_BT, capture=capture)
            if observe is not None and capture is not None:
                observe(PassView(n_pass, state, {layer: maps[0] for layer, maps in capture.items() if maps}))
        return BlocksOutput(h_BTE, state)

    def consolidate(
        self, h_BTE: Tensor, state: ModelState, n_passes: int = 1, *, first_pass: int = 1, valid_BT: Tensor | None = None
    ) -> ModelState:
        """Return the state that ``blocks`` returns: all that is left of a window that is slept on.

        Nobody reads the residual stream of its last pass, so that pass ends where the last layer with fast weights has written.

        Args:
            h_BTE: embedded tokens of the window, or the residual stream that the looped span left in the pass before.
            state: fast weights before ``first_pass``.
            n_passes: N, the number of the last pass.
            first_pass: number of the first pass to make; the prelude belongs to pass 1.
            valid_BT: False marks padding.

        Raises:
            InvalidInputError: if the passes are not integers with 1 <= first_pass <= n_passes.
        """
        _check_count("n_passes", n_passes)
        require(1 <= first_pass <= n_passes, "first_pass", f"must be in [1, n_passes={n_passes}]", first_pass)
        (start, stop), n_layers = self.config.loop_span, self.config.n_layers
        spans = [(0, start)] if first_pass == 1 else []
        spans += [(start, stop)] * (n_passes - first_pass + 1) + [(stop, n_layers)]
        while spans and not self._writes(spans[-1]):
            spans.pop()
        for span in spans[:-1]:
            h_BTE, state, _ = self.run_layers(h_BTE, state, span, valid_BT=valid_BT)
        return self._write_layers(h_BTE, state, spans[-1], valid_BT) if spans else state

    def run_layers(
        self,
        h_BTE: Tensor,
        state: ModelState,
        span: tuple[int, int],
        *,
        valid_BT: Tensor | None = None,
        cache: WindowCache | None = None,
        capture: dict[int, list[Tensor]] | None = None,
    ) -> tuple[Tensor, ModelState, WindowCache | None]:
        """Run the layers [start, stop) once, over a whole window or, with a cache, going on inside one.

        Args:
            h_BTE: residual stream.
            state: fast weights of all layers; those in the span are replaced in the result.
            span: layers [start, stop).
            valid_BT: False marks padding.
            cache: what was read of this window so far, for all layers; None runs from an empty KV cache and keeps none.
            capture: receives the attention weights of the span's attention layers by layer number.
        """
        start, stop = span
        states, caches = [], []
        angles = self._angles(h_BTE, cache, span)
        for number in range(start, stop):
            maps = None if capture is None else capture.setdefault(number, [])
            past = None if cache is None else cache.layers[number]
            h_BTE, layer_state, layer_cache = self.layers[number](
                h_BTE, state.fast_weights[number], angles=angles, valid_BT=valid_BT, cache=past, capture=maps
            )
            states.append(layer_state)
            caches.append(layer_cache)
        if cache is not None:
            cache = WindowCache(cache.layers[:start] + tuple(caches) + cache.layers[stop:], cache.length)
        return h_BTE, state.with_layers(start, states), cache

    def empty_cache(self, batch_size: int) -> WindowCache:
        """Return the cache of a window in which nothing was read."""
        like = self.embedding.weight.new_empty(batch_size, 0, self.config.width)
        return WindowCache(tuple(layer.mixer.empty_cache(like) for layer in self.layers), 0)  # type: ignore[operator, union-attr]

    def _writes(self, span: tuple[int, int]) -> bool:
        return "gdn" in self.config.layer_kinds[slice(*span)]

    def _write_layers(self, h_BTE: Tensor, state: ModelState, span: tuple[int, int], valid_BT: Tensor | None) -> ModelState:
        start, stop = span
        last = max(number for number in range(start, stop) if self.config.layer_kinds[number] == "gdn")
        h_BTE, state, _ = self.run_layers(h_BTE, state, (start, last), valid_BT=valid_BT)
        written = self.layers[last].write(h_BTE, state.fast_weights[last], valid_BT=valid_BT)  # type: ignore[operator]
        return state.with_layers(last, [written])

    def _angles(self, h_BTE: Tensor, cache: WindowCache | None, span: tuple[int, int]) -> ops.Rotation | None:
        """Return the angles of the tokens' positions, counted from the window's first; None if no layer of the span needs any."""
        config, start = self.config, 0
        if "attn" not in config.layer_kinds[slice(*span)]:
            return None
        if cache is not None:
            start = next(past.keys.shape[2] for past in cache.layers[slice(*span)] if isinstance(past, AttentionCache))
        return ops.rotation(
            start, h_BTE.shape[1], head_dim=config.head_dim, base=config.rope_base, dtype=h_BTE.dtype, device=h_BTE.device
        )

    def head(self, h_BTE: Tensor) -> Tensor:
        """Final norm and projection: [B, T, E] -> logits [B, T, W]."""
        return self.projection(self.final_norm(h_BTE))  # type: ignore[no-any-return]

    def save(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json``; the folder is either whole or not there.

        Raises:
            CheckpointError: if the folder exists and is not a sleepkit model.
        """
        from safetensors.torch import save_model

        target = Path(folder)
        if target.exists() and (not target.is_dir() or any(target.iterdir())) and not _is_model(target):
            raise CheckpointError(f"folder: must be new, empty or a sleepkit model, got {str(target)!r}")
        description = {"format": MODEL_FORMAT, "version": MODEL_VERSION, "config": self.config.to_dict()}
        with whole_folder(target) as temporary:
            save_model(self, str(temporary / "model.safetensors"))
            (temporary / "config.json").write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a folder written by ``save``; nothing is ever unpickled.

        Raises:
            CheckpointError: if the folder is missing, damaged or of another kind.
        """
        model, weights = cls(read_config(folder)), Path(folder) / "model.safetensors"
        model.to(_stored_dtype(weights))
        load_weights(model, weights)
        return model


def read_config(folder: str | Path) -> ModelConfig:
    """Read the model configuration of a saved model.

    Raises:
        CheckpointError: if it is missing, damaged or of another kind.
    """
    path = Path(folder) / "config.json"
    try:
        description = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"folder: must hold a readable config.json ({_one_line(error)}), got {str(folder)!r}") from None
    if not isinstance(description, dict) or description.get("format") != MODEL_FORMAT:
        raise CheckpointError(f"folder: config.json must have format {MODEL_FORMAT!r}, got {str(folder)!r}")
    if description.get("version") != MODEL_VERSION:
        raise CheckpointError(f"folder: config.json must have version {MODEL_VERSION}, got {description.get('version')!r}")
    try:
        return ModelConfig.from_dict(description["config"])
    except (KeyError, InvalidInputError) as error:
        raise CheckpointError(
            f"folder: config.json must hold a model configuration ({_one_line(error)}), got {str(folder)!r}"
        ) from None


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a model with the tensors of a safetensors file, all of them and no others.

    Raises:
        CheckpointError: if the file is missing, damaged or does not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    try:
        load_model(model, str(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"weights: must be the model's own safetensors ({_one_line(error)}), got {str(path)!r}") from None


def _is_model(folder: Path) -> bool:
    try:
        read_config(folder)
    except CheckpointError:
        return False
    return True


def _stored_dtype(path: Path) -> torch.dtype:
    """Read in which dtype a model's weights were saved, so that loading never rounds them."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            dtypes = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"weights: must be the model's own safetensors ({_one_line(error)}), got {str(path)!r}") from None
    if len(dtypes) != 1:
        raise CheckpointError(f"weights: must be the model's own safetensors (one dtype, not {len(dtypes)}), got {str(path)!r}")
    stored: torch.dtype = dtypes.pop()
    return stored


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _check_count(name: str, value: object) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    require(whole, name, "must be an integer >= 1", value)
