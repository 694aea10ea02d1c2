"""Streaming: the system as it is used. Wake reading is pass 1; sleep adds passes 2..N, then clears the cache.

Axes: B sequence, T token, E channel, W vocabulary.
"""

from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor

from sleepkit.errors import CheckpointError, one_line, require, require_count
from sleepkit.files import read_folder, seals, tensors, whole_folder
from sleepkit.model import HybridLM, ModelState, WindowCache
from sleepkit.model.fitting import repeated
from sleepkit.model.hybrid import TOKEN_TYPES
from sleepkit.model.state import AttentionCache, LayerCache, Sight
from sleepkit.model.storage import read_tensors, write_tensors
from sleepkit.sleep.schedule import SleepConfig

SESSION_FORMAT = "sleepkit-session"
SESSION_VERSION = 1
_NOTED = ("format", "version", "model", "sleep", "batch_size", "length", "n_read", "n_sleeps", "tensors")


class _Awake(NamedTuple):
    """The open window: what is thrown away by the next sleep.

    ``looped`` holds the residual stream after the looped span of pass 1, one tensor per piece read: it is what pass 2 starts
    from. ``entered`` holds what entered the span, where the model injects it into later passes. ``coda_start`` is the state
    before the window: the coda's own part of it is put back by sleep, because awake the coda has read pass-1 features.
    """

    cache: WindowCache
    looped: tuple[Tensor, ...]
    coda_start: ModelState
    length: int
    entered: tuple[Tensor, ...] = ()


class Session:
    """A model that reads a stream, sleeps at window edges and answers in one pass.

    Reading any split of a sequence and sleeping at the window edges gives the same state and the same answers as
    ``rollout``. What it holds never grows with what was read: the fast weights, at most one window and, under sliding eviction,
    keys and values of at most L - 1 tokens before it. Those stay whole while the window is open, because passes 2..N need them
    again: a query of the window at p sees the keys in (p - L, p], in the passes asleep as well as awake.
    """

    def __init__(self, model: HybridLM, sleep: SleepConfig, *, batch_size: int = 1) -> None:
        """Start awake, with empty fast weights and an empty window.

        Raises:
            InvalidInputError: if the batch size is not a positive integer.
        """
        self.model, self.sleep_config, self.batch_size = model, sleep, batch_size
        self._state = model.initial_state(batch_size, sliding_len=sleep.sliding_len)
        self._awake = self._open_window()
        self.n_read = 0
        self.n_sleeps = 0

    @property
    def state(self) -> ModelState:
        """The fast weights now: after the last token read, or after the last sleep.

        Its sight, under sliding eviction, is that of the last sleep: keys of the open window are carried only from the next one.
        """
        return self._state

    @property
    def cache_len(self) -> int:
        """Tokens in the KV cache: those of the open window, fewer than ``window_len``, and up to L - 1 carried before it."""
        return self._awake.length + (0 if self._state.sight is None else self._state.sight.n_carried)

    @property
    def n_bytes(self) -> int:
        """Bytes held: fast weights, KV cache, carried tokens included, and the residual stream of the open window."""
        window = self._awake.cache.n_bytes + sum(piece.nbytes for piece in (*self._awake.looped, *self._awake.entered))
        return self._state.n_bytes + window

    @torch.no_grad()
    def read(self, tokens_BT: Tensor) -> Tensor:
        """Read tokens awake (pass 1) and return their logits [B, T, W]; falls asleep by itself at every window edge.

        Args:
            tokens_BT: any number of tokens; they may cross window edges.

        Raises:
            InvalidInputError: if the tokens are not a [B, T] integer tensor within the vocabulary; nothing is read then.
        """
        self._check(tokens_BT)
        logits = []
        while tokens_BT.shape[1] > 0:
            room = self.sleep_config.window_len - self._awake.length
            piece, tokens_BT = tokens_BT[:, :room], tokens_BT[:, room:]
            logits.append(self._read_piece(piece))
            if self._awake.length == self.sleep_config.window_len:
                self.sleep()
        if logits:
            return torch.cat(logits, dim=1)
        return self.model.embedding.weight.new_zeros(self.batch_size, 0, self.model.config.vocab_size)

    @torch.no_grad()
    def sleep(self, n_passes: int | None = None) -> None:
        """Make passes 2..N over the open window, then evict; an empty window changes nothing.

        Hard eviction clears the KV cache. Sliding eviction leaves the newest L - 1 tokens in it, with the keys and values of
        each layer's last run: pass 1 in a prelude, pass N in the looped span, the coda's run on the final features.

        Args:
            n_passes: N for this window alone, reading included; the session's own if None. 1 only evicts.

        Raises:
            InvalidInputError: if ``n_passes`` is not a positive integer.
        """
        if n_passes is None:
            n_passes = self.sleep_config.n_passes
        require_count("n_passes", n_passes)
        if self._awake.length == 0:
            return
        self._state = self._consolidate(n_passes)
        self._awake = self._open_window()
        self.n_sleeps += 1

    @torch.no_grad()
    def predict(self, tokens_BT: Tensor) -> Tensor:
        """Return the logits [B, T, W] that ``read`` would give, leaving this session as it is.

        A session of one sequence answers any number of questions at once: read once, ask many.
        """
        many = self.batch_size == 1 and isinstance(tokens_BT, Tensor) and tokens_BT.ndim == 2 and tokens_BT.shape[0] > 1
        return self.fork(batch_size=tokens_BT.shape[0] if many else None).read(tokens_BT)

    def fork(self, *, batch_size: int | None = None) -> Self:
        """Return an independent session in the same condition (tensors are shared: they are never written in place).

        Args:
            batch_size: B of the new session, for a session of one sequence, which is repeated; None for its own.

        Raises:
            InvalidInputError: if B is not a positive integer, or another than that of a session of several sequences.
        """
        if batch_size is None:
            batch_size = self.batch_size
        fits = self.batch_size in (1, batch_size)
        require(fits, "batch_size", f"must be {self.batch_size}: only a session of one sequence is repeated", batch_size)
        twin = type(self)(self.model, self.sleep_config, batch_size=batch_size)
        same = batch_size == self.batch_size
        twin._state = self._state if same else repeated(self._state, batch_size)
        twin._awake = self._awake if same else _repeated_window(self._awake, batch_size)
        twin.n_read, twin.n_sleeps = self.n_read, self.n_sleeps
        return twin

    def save(self, path: str | Path) -> None:
        """Write the session (fast weights, open window, settings) to a folder, whole or not at all.

        Raises:
            CheckpointError: if the path exists and is not a session.
            OSError: if the disk refuses; an earlier session stays.
        """
        target = Path(path)
        if target.exists() and not (target / "session.json").exists():
            raise CheckpointError(f"path: must be new or a sleepkit session, got {str(target)!r}")
        description = {
            "format": SESSION_FORMAT,
            "version": SESSION_VERSION,
            "model": self.model.config.digest(),
            "sleep": self.sleep_config.to_dict(),
            "batch_size": self.batch_size,
            "length": self._awake.length,
            "n_read": self.n_read,
            "n_sleeps": self.n_sleeps,
        }
        with whole_folder(target) as temporary:
            held = temporary / "session.safetensors"
            write_tensors({name: tensor.contiguous().clone() for name, tensor in self._tensors().items()}, held)
            description["tensors"] = tensors.stored_digest(held)
            (temporary / "session.json").write_text(seals.json_text(description))

    @classmethod
    def load(cls, path: str | Path, model: HybridLM) -> Self:
        """Read a folder written by ``save``, for the same model configuration; warn once for files that have no digest.

        Raises:
            CheckpointError: if it is missing, damaged, of another kind or of another model.
        """
        return read_folder(Path(path), lambda folder: cls._read(folder, model))

    @classmethod
    def _read(cls, folder: Path, model: HybridLM) -> Self:
        note, held = folder / "session.json", folder / "session.safetensors"
        try:
            description = seals.json_data(note.read_bytes(), _NOTED, source=note)
            if description["format"] != SESSION_FORMAT or description["version"] != SESSION_VERSION:
                raise KeyError(f"format {SESSION_FORMAT!r} version {SESSION_VERSION}")
            same_model = description["model"] == model.config.digest()
            session = cls(model, SleepConfig.from_dict(description["sleep"]), batch_size=description["batch_size"])
            stored = read_tensors(held, device=str(model.embedding.weight.device))
            if description.get("tensors") != tensors.stored_digest(held):
                raise KeyError("session.safetensors of another session")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"path: must be a whole sleepkit session ({one_line(error)}), got {str(folder)!r}") from None
        if not same_model:
            raise CheckpointError(f"path: must be a session of this model's configuration, got {str(folder)!r}")
        session._restore(stored, description, folder)
        return session

    def _open_window(self) -> _Awake:
        return _Awake(self.model.empty_cache(self.batch_size), (), self._state, 0)

    def _read_piece(self, tokens_BT: Tensor) -> Tensor:
        model, awake, state = self.model, self._awake, self._state
        (start, stop), n_layers = model.config.loop_span, model.config.n_layers
        cache: WindowCache | None = awake.cache
        hidden = model.embed(tokens_BT)
        if start > 0:
            hidden, state, cache = model.run_layers(hidden, state, (0, start), cache=cache)
        entered = (*awake.entered, hidden) if model.config.input_injection else ()
        looped, state, cache = model.run_layers(hidden, state, (start, stop), cache=cache)
        hidden = looped
        if stop < n_layers:
            hidden, state, cache = model.run_layers(hidden, state, (stop, n_layers), cache=cache)
        assert cache is not None
        length = awake.length + tokens_BT.shape[1]
        cache = cache._replace(length=length)
        self._awake = awake._replace(cache=cache, looped=(*awake.looped, looped), length=length, entered=entered)
        self._state = state
        self.n_read += tokens_BT.shape[1]
        return model.head(hidden)

    def _consolidate(self, n_passes: int) -> ModelState:
        """Passes 2..N over the stored window; then, if there is a coda, its one real pass on the final features; eviction."""
        stop, state = self.model.config.loop_span[1], self._state
        if state.sight is not None:
            read = [layer if isinstance(layer, AttentionCache) else None for layer in self._awake.cache.layers]
            state = state._replace(sight=state.sight.with_own(0, read))
        if n_passes == 1:
            return self.model.evict(state, self._awake.length)
        state = state.layers_from(self._awake.coda_start, stop)
        looped, entered = (torch.cat(pieces, dim=1) if pieces else None for pieces in (self._awake.looped, self._awake.entered))
        assert looped is not None
        return self.model.consolidate(looped, state, n_passes, first_pass=2, entered_BTE=entered)

    def _check(self, tokens_BT: Tensor) -> None:
        whole = isinstance(tokens_BT, Tensor) and tokens_BT.ndim == 2 and tokens_BT.dtype in TOKEN_TYPES
        require(whole, "tokens", "must be an integer tensor [B, T]", getattr(tokens_BT, "shape", type(tokens_BT).__name__))
        require(
            tokens_BT.shape[0] == self.batch_size,
            "tokens",
            f"must have batch size {self.batch_size}",
            tuple(tokens_BT.shape),
        )
        if tokens_BT.numel():
            low, high = int(tokens_BT.min()), int(tokens_BT.max())
            vocab_size = self.model.config.vocab_size
            inside = low >= 0 and high < vocab_size
            require(inside, "tokens", f"must lie in the model's vocabulary [0, {vocab_size})", (low, high))

    def _tensors(self) -> dict[str, Tensor]:
        named: dict[str, Tensor] = {}
        for name, state in (("state", self._state), ("start", self._awake.coda_start)):
            for part, weights in (("", state.fast_weights), (".tail", state.conv_tails)):
                named.update({f"{name}{part}.{i}": layer for i, layer in enumerate(weights) if layer is not None})
        carried = () if self._state.sight is None else self._state.sight.carried
        for kind, layers in (("cache", self._awake.cache.layers), ("carried", carried)):
            for number, layer in enumerate(layers):
                if layer is not None:
                    named.update({f"{kind}.{number}.{field}": tensor for field, tensor in layer._asdict().items()})
        if self._awake.looped:
            named["looped"] = torch.cat(self._awake.looped, dim=1)
        if self._awake.entered:
            named["entered"] = torch.cat(self._awake.entered, dim=1)
        return named

    def _restore(self, stored: dict[str, Tensor], description: dict[str, int], folder: Path) -> None:
        try:
            n_read, n_sleeps, length = (int(description[name]) for name in ("n_read", "n_sleeps", "length"))
            if n_read < length:
                raise ValueError(f"n_read {n_read} is less than the {length} tokens of the window")
            sight = self._stored_sight(stored, n_read - length)
            state, begin = (self._stored_state(stored, name, sight) for name in ("state", "start"))
            fresh = self._awake.cache.layers
            layers = tuple(self._stored_cache(stored, number, layer, length) for number, layer in enumerate(fresh))
            n_injected = 2 if self.model.config.input_injection else 1
            size = (self.batch_size, length, self.model.config.width)
            pieces = [self._shaped(stored, name, size) for name in ("looped", "entered")[:n_injected]] if length else []
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"path: must be a whole sleepkit session ({error}), got {str(folder)!r}") from None
        self._state, self.n_read, self.n_sleeps = state, n_read, n_sleeps
        self._awake = _Awake(WindowCache(layers, length), tuple(pieces[:1]), begin, length, tuple(pieces[1:]))

    def _stored_state(self, stored: dict[str, Tensor], name: str, sight: Sight | None) -> ModelState:
        fresh = self._state
        fast_weights = tuple(self._like(stored, f"{name}.{i}", layer) for i, layer in enumerate(fresh.fast_weights))
        tails = tuple(self._like(stored, f"{name}.tail.{i}", layer) for i, layer in enumerate(fresh.conv_tails))
        return ModelState(fast_weights, sight, tails)

    def _stored_cache(self, stored: dict[str, Tensor], number: int, fresh: LayerCache, length: int) -> LayerCache:
        """Return what a layer has read of the open window."""
        sizes = [tuple(tensor.shape) for tensor in fresh]
        if isinstance(fresh, AttentionCache):
            sizes = [(batch, heads, length, channels) for batch, heads, _, channels in sizes]
        named = zip(fresh._fields, sizes, strict=True)
        return type(fresh)(*(self._shaped(stored, f"cache.{number}.{field}", size) for field, size in named))

    def _stored_sight(self, stored: dict[str, Tensor], n_before: int) -> Sight | None:
        """Return what is carried of the ``n_before`` tokens read before the open window."""
        fresh = self._state.sight
        if fresh is None:
            return None
        n_carried = min(fresh.sliding_len - 1, n_before)

        def look(number: int, layer: AttentionCache) -> AttentionCache:
            batch, heads, _, channels = layer.keys.shape
            names = (f"carried.{number}.{field}" for field in layer._fields)
            return AttentionCache(*(self._shaped(stored, name, (batch, heads, n_carried, channels)) for name in names))

        carried = (None if layer is None else look(number, layer) for number, layer in enumerate(fresh.carried))
        return fresh._replace(carried=tuple(carried))

    def _like(self, stored: dict[str, Tensor], name: str, like: Tensor | None) -> Tensor | None:
        return None if like is None else self._shaped(stored, name, tuple(like.shape), dtype=like.dtype)

    def _shaped(
        self, stored: dict[str, Tensor], name: str, shape: tuple[int, ...], *, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Return a tensor in a dtype, that of the model if None; a stored one may be narrower, and none is rounded."""
        tensor, wanted = stored[name], dtype or self.model.embedding.weight.dtype
        if tensor.shape != shape:
            raise ValueError(f"{name} has shape {list(tensor.shape)}, not {list(shape)}")
        if not tensor.is_floating_point() or torch.promote_types(tensor.dtype, wanted) != wanted:
            raise ValueError(f"{name} is {tensor.dtype}, and a model of {wanted} would round it")
        return tensor.to(wanted)


def _repeated_window(awake: _Awake, batch_size: int) -> _Awake:
    """Repeat the open window of one sequence."""

    def repeat(tensor: Tensor) -> Tensor:
        return tensor.expand(batch_size, *tensor.shape[1:]).contiguous()

    layers = tuple(type(layer)(*map(repeat, layer)) for layer in awake.cache.layers)
    looped, entered = (tuple(map(repeat, pieces)) for pieces in (awake.looped, awake.entered))
    return _Awake(WindowCache(layers, awake.cache.length), looped, repeated(awake.coda_start, batch_size), awake.length, entered)
