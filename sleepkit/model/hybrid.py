"""The hybrid language model (Lee et al. 2026, Eq. 5-6): Embed -> blocks, repeated asleep -> head.

Axes: B batch, T token, E channel, W vocabulary.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from sleepkit import ops
from sleepkit.errors import require, require_count
from sleepkit.files import read_folder
from sleepkit.model.block import Block
from sleepkit.model.config import ModelConfig
from sleepkit.model.door import first_change
from sleepkit.model.explain import Explanation
from sleepkit.model.fitting import check_hidden, fitted_state
from sleepkit.model.norms import normed
from sleepkit.model.outputs import BlocksOutput, PassView
from sleepkit.model.passes import FASTEST, carried, compiled, layer_path, recomputed
from sleepkit.model.sliding import evicted, reading
from sleepkit.model.state import AttentionCache, ConvCache, ModelState, Sight, WindowCache
from sleepkit.model.storage import load_weights, read_config, take_stored_dtypes, write_model

TOKEN_TYPES = (torch.int64, torch.int32)


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
        self.loop_norm = nn.RMSNorm(config.width, eps=config.norm_eps) if config.loop_norm else None
        self.injection = nn.Parameter(torch.ones(config.width)) if config.input_injection else None
        self._functions = FASTEST

    def initial_state(self, batch_size: int, *, sliding_len: int | None = None) -> ModelState:
        """Return empty fast weights (zeros), and empty tails where they are carried, for a batch on the model's device.

        Args:
            batch_size: B.
            sliding_len: L, for sliding eviction: the state then carries the newest L - 1 tokens of earlier windows, and attention
                sees them (``model.sliding``). None for hard eviction.

        Raises:
            InvalidInputError: if the batch size or L is not a positive integer.
        """
        require_count("batch_size", batch_size)
        config, weight = self.config, self.embedding.weight
        shape = (batch_size, config.n_heads, config.key_channels, config.value_channels)
        wide = torch.promote_types(weight.dtype, torch.float32)
        fast = (number in config.fast_layers for number in range(config.n_layers))
        empty = tuple(torch.zeros(shape, device=weight.device, dtype=wide) if writes else None for writes in fast)
        sight = None if sliding_len is None else self._blind(batch_size, sliding_len)
        if not config.carry_conv:
            return ModelState(empty, sight)
        caches = (layer.mixer.empty_cache(weight.new_empty(batch_size, 0, config.width)) for layer in self.layers)  # type: ignore[operator, union-attr]
        tails = tuple(cache.tail if isinstance(cache, ConvCache) else None for cache in caches)
        return ModelState(empty, sight, tails)

    def fitted_state(self, state: ModelState, batch_size: int) -> ModelState:
        """Return a state for a batch: it must be of this model; that of one sequence is repeated for all.

        Raises:
            InvalidInputError: if layers, shapes, dtypes, layout or device are not those of ``initial_state``, or the batch is
                neither B nor 1.
        """
        return fitted_state(state, self.config, self.embedding.weight, batch_size)

    def explain(self, batch_size: int = 1, window_len: int = 24) -> Explanation:
        """Say for each layer which path a call of ``blocks`` on a whole window would take here and now, and why.

        Here and now counts the gradient mode, autocast, tracing, compiled blocks, and every module as it is.

        Args:
            batch_size: B.
            window_len: T, tokens of the window.

        Raises:
            InvalidInputError: if one of them is not a positive integer.
        """
        require_count("window_len", window_len)
        state, config = self.initial_state(batch_size), self.config
        h_BTE = self.embedding.weight.new_empty(1, 1, 1).expand(batch_size, window_len, config.width)
        with torch.no_grad():
            angles = self._angles(h_BTE, None, (0, config.n_layers))
            return Explanation(
                tuple(
                    layer_path(number, kind, self.layers[number], self._functions, h_BTE, state, angles)  # type: ignore[arg-type]
                    for number, kind in enumerate(config.layer_kinds)
                )
            )

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
        recompute: bool = False,
    ) -> BlocksOutput:
        """Run one window, and evict: prelude once, the looped span ``n_passes`` times, coda once.

        h, S <- Blocks(h, S) repeated (Lee et al. 2026, Eq. 6 and Algorithm 1). The residual stream goes from pass to pass as
        it is, unless ``loop_norm`` or ``input_injection`` of the configuration change it in between; every pass updates the fast
        weights. ``n_passes=1`` is the vanilla hybrid. The KV cache is empty at first, unless the state has a sight: then
        attention sees the tokens carried in it, and it carries the newest ones on.

        Args:
            h_BTE: embedded tokens of the window, or the residual stream of an earlier pass.
            state: fast weights before the window; those of one sequence are repeated for all: read once, ask many.
            n_passes: N, passes of the looped span, 1 or more.
            valid_BT: False (or the integer 0) marks padding.
            observe: called after every pass with what can be seen then (slower: attention weights are materialised besides).
            recompute: keep no activations but the residual stream and the state before each run over the prelude, the looped span
                or the coda; backward makes the run again.

        Raises:
            InvalidInputError: if ``n_passes`` is not a positive integer, passes are to be observed and recomputed, or the state
                or the mask is not of this model and batch.
        """
        require_count("n_passes", n_passes)
        state, valid_BT = self._fitted(h_BTE, state, valid_BT)
        require(observe is None or not recompute, "observe", "must be None where passes are recomputed", observe)
        start, stop = self.config.loop_span
        entered = h_BTE
        for n_pass in range(1, n_passes + 1):
            capture: dict[int, Tensor] | None = None if observe is None else {}
            spans = [(0, start)] if n_pass == 1 else []
            spans += [(start, stop)] + ([(stop, self.config.n_layers)] if n_pass == n_passes else [])
            for span in spans:
                if span == (start, stop):
                    h_BTE, entered = self._enter(n_pass, h_BTE, entered)
                h_BTE, state = self._run_span(h_BTE, state, span, valid_BT, recompute=recompute, capture=capture)
            if observe is not None and capture is not None:
                observe(PassView(n_pass, state, capture))
        return BlocksOutput(h_BTE, self.evict(state, h_BTE.shape[1], valid_BT=valid_BT))

    def consolidate(
        self,
        h_BTE: Tensor,
        state: ModelState,
        n_passes: int = 1,
        *,
        first_pass: int = 1,
        valid_BT: Tensor | None = None,
        recompute: bool = False,
        gradient_passes: int | None = None,
        entered_BTE: Tensor | None = None,
    ) -> ModelState:
        """Return the state that ``blocks`` returns: all that is left of a window that is slept on.

        Nobody reads the residual stream of its last pass, so that pass ends where the last layer with fast weights has written;
        under sliding eviction, where the last layer of any kind has left its keys and values or fast weights. Where something in
        the rest of it is hooked or exchanged it runs to its end: a hook is called as often as its module acts in ``blocks``.

        Args:
            h_BTE: embedded tokens of the window, or the residual stream that the looped span left in the pass before.
            state: fast weights before ``first_pass``; those of one sequence are repeated for all.
            n_passes: N, the number of the last pass.
            first_pass: number of the first pass to make; the prelude belongs to pass 1, the coda to pass N.
            valid_BT: False marks padding.
            recompute: keep no activations, as in ``blocks``.
            gradient_passes: k. Passes 1..N - k (with pass 1, the prelude) keep no graph: their parameters and ``h_BTE`` get no
                gradient from here, and the state gets only that of its own recurrence (``carried``). None, or k >= N: all passes
                have theirs.
            entered_BTE: what entered the looped span in pass 1; needed to go on after pass 1 with ``input_injection``.

        Raises:
            InvalidInputError: if the passes are not integers with 1 <= first_pass <= n_passes, ``gradient_passes`` is neither
                None nor a positive integer, ``entered_BTE`` is needed and missing, or the state or the mask is not of this model
                and batch.
        """
        require_count("n_passes", n_passes)
        require(1 <= first_pass <= n_passes, "first_pass", f"must be in [1, n_passes={n_passes}]", first_pass)
        known = first_pass == 1 or not self.config.input_injection or entered_BTE is not None
        require(known, "entered", "must be given to inject it after pass 1", entered_BTE)
        state, valid_BT = self._fitted(h_BTE, state, valid_BT)
        if gradient_passes is not None:
            require_count("gradient_passes", gradient_passes)
        n_silent = 0 if gradient_passes is None or not torch.is_grad_enabled() else n_passes - gradient_passes
        (start, stop), n_layers = self.config.loop_span, self.config.n_layers
        spans = [(1, (0, start))] if first_pass == 1 else []
        spans += [(n_pass, (start, stop)) for n_pass in range(first_pass, n_passes + 1)] + [(n_passes, (stop, n_layers))]
        n_tokens = h_BTE.shape[1]
        while spans and not self._acts(*spans[-1], state):
            spans.pop()
        entered = h_BTE if entered_BTE is None else entered_BTE
        for number, (n_pass, span) in enumerate(spans, start=1):
            if span == (start, stop):
                h_BTE, entered = self._enter(n_pass, h_BTE, entered, silently=n_pass <= n_silent)
            if n_pass <= n_silent:
                h_BTE, state = self._run_silently(h_BTE, state, span, valid_BT)
            elif number < len(spans):
                h_BTE, state = self._run_span(h_BTE, state, span, valid_BT, recompute=recompute)
            elif recompute:
                state = recomputed(self._write_layers, h_BTE, state, span, valid_BT)
            else:
                state = self._write_layers(h_BTE, state, span, valid_BT)
        return self.evict(state, n_tokens, valid_BT=valid_BT)

    def evict(self, state: ModelState, n_tokens: int, *, valid_BT: Tensor | None = None) -> ModelState:
        """End a window for a state with a sight: carry on the newest L - 1 tokens; without one, there is nothing to do.

        Args:
            state: after the last pass over the window.
            n_tokens: T, tokens of the window.
            valid_BT: False marks padding.
        """
        return state if state.sight is None else state._replace(sight=evicted(state.sight, self.config, n_tokens, valid_BT))

    def run_layers(
        self,
        h_BTE: Tensor,
        state: ModelState,
        span: tuple[int, int],
        *,
        valid_BT: Tensor | None = None,
        cache: WindowCache | None = None,
        capture: dict[int, Tensor] | None = None,
    ) -> tuple[Tensor, ModelState, WindowCache | None]:
        """Run the layers [start, stop) once, over a whole window or, with a cache, going on inside one.

        Args:
            h_BTE: residual stream.
            state: of all layers; what those in the span write is replaced in the result. Without a cache that is, under sliding
                eviction, also what the sight has of this window.
            span: layers [start, stop).
            valid_BT: False marks padding.
            cache: what was read of this window so far, for all layers; None begins the window and keeps no cache.
            capture: receives the attention weights of the span's attention layers by layer number (without a cache).
        """
        state, valid_BT = self._fitted(h_BTE, state, valid_BT)
        return self._run_layers(h_BTE, state, span, valid_BT=valid_BT, cache=cache, capture=capture)

    def _run_layers(
        self,
        h_BTE: Tensor,
        state: ModelState,
        span: tuple[int, int],
        *,
        valid_BT: Tensor | None = None,
        cache: WindowCache | None = None,
        capture: dict[int, Tensor] | None = None,
    ) -> tuple[Tensor, ModelState, WindowCache | None]:
        start, stop = span
        states, tails, caches, own = [], [], [], []
        angles = self._angles(h_BTE, cache, span)
        for number in range(start, stop):
            layer_state, tail = state.fast_weights[number], state.conv_tail(number)
            if cache is None:
                h_BTE, layer_state, tail, left = self._run_layer(
                    number, h_BTE, layer_state, angles, valid_BT, tail, state.sight, capture=capture
                )
                own.append(left)
            else:
                past = cache.layers[number] if tail is None else ConvCache(tail)
                sight = state.sight if self.config.layer_kinds[number] == "attn" else None
                seen = reading(sight, number, valid_BT, h_BTE)
                h_BTE, layer_state, layer_cache = self.layers[number](h_BTE, layer_state, angles=angles, cache=past, **seen)
                if tail is not None:  # it outlives the window: it travels in the state, and the cache stays empty
                    tail, layer_cache = layer_cache.tail.to(tail.dtype), cache.layers[number]
                caches.append(layer_cache)
            states.append(layer_state)
            tails.append(tail)
        state = state.with_layers(start, states, tails)
        if cache is not None:
            cache = WindowCache(cache.layers[:start] + tuple(caches) + cache.layers[stop:], cache.length)
        elif state.sight is not None:
            state = state._replace(sight=state.sight.with_own(start, own))
        return h_BTE, state, cache

    def compile_blocks(self, *, backend: str | Callable[..., Any] = "inductor") -> None:
        """Let torch.compile make the code that runs blocks over whole windows; parameters and their names stay as they are.

        There is one graph for each kind of layer, window length, batch size and gradient mode, with and without padding, made
        when it is first met, and shared by all layers of the kind, all passes and all windows. Reading inside a window (a
        KV cache that grows) and attention under sliding eviction run as before.

        Args:
            backend: of torch.compile.
        """
        self._functions = compiled(backend)

    def uncompile_blocks(self) -> None:
        """Undo ``compile_blocks``."""
        self._functions = FASTEST

    def empty_cache(self, batch_size: int) -> WindowCache:
        """Return the cache of a window in which nothing was read."""
        like = self.embedding.weight.new_empty(batch_size, 0, self.config.width)
        layers = [layer.mixer.empty_cache(like) for layer in self.layers]  # type: ignore[operator, union-attr]
        if self.config.carry_conv:
            layers = [ConvCache(layer.tail[:, :0]) if isinstance(layer, ConvCache) else layer for layer in layers]
        return WindowCache(tuple(layers), 0)

    def _enter(self, n_pass: int, h_BTE: Tensor, entered_BTE: Tensor, *, silently: bool = False) -> tuple[Tensor, Tensor]:
        """Return what a pass over the looped span reads, and what entered the span in pass 1."""
        if n_pass == 1:
            return h_BTE, h_BTE.detach() if silently else h_BTE
        with torch.set_grad_enabled(torch.is_grad_enabled() and not silently):
            if self.loop_norm is not None:
                h_BTE = normed(h_BTE, self.loop_norm)
            if self.injection is not None:
                h_BTE = torch.addcmul(h_BTE, self.injection, entered_BTE)
        return h_BTE, entered_BTE

    def _blind(self, batch_size: int, sliding_len: int) -> Sight:
        """The sight of a model that has read nothing."""
        require_count("sliding_len", sliding_len)
        layers = self.empty_cache(batch_size).layers
        carried = tuple(layer if isinstance(layer, AttentionCache) else None for layer in layers)
        return Sight(sliding_len, carried, (None,) * len(carried), None)

    def _fitted(self, h_BTE: Tensor, state: ModelState, valid_BT: Tensor | None) -> tuple[ModelState, Tensor | None]:
        """Return state and mask as a call on a residual stream takes them; refuse what is not of this model and batch."""
        check_hidden(h_BTE, self.config)
        mask = ops.as_mask(valid_BT, h_BTE.shape[:2], device=h_BTE.device)
        return self.fitted_state(state, h_BTE.shape[0]), mask

    def _acts(self, n_pass: int, span: tuple[int, int], state: ModelState) -> bool:
        """Say whether a run over a span leaves something behind when the window ends, or calls what somebody watches."""
        if self._last_needed(span, state) is not None:
            return True
        between = n_pass > 1 and span == self.config.loop_span and self.loop_norm is not None
        return between and first_change(self.loop_norm) is not None  # type: ignore[arg-type]

    def _last_needed(self, span: tuple[int, int], state: ModelState) -> int | None:
        """The last layer of a span that leaves something behind when the window ends, or that somebody changed or watches."""
        for number in reversed(range(*span)):
            leaves = state.sight is not None or number in self.config.fast_layers
            if leaves or first_change(self.layers[number]) is not None:
                return number
        return None

    def _run_span(
        self,
        h_BTE: Tensor,
        state: ModelState,
        span: tuple[int, int],
        valid_BT: Tensor | None,
        *,
        recompute: bool,
        capture: dict[int, Tensor] | None = None,
    ) -> tuple[Tensor, ModelState]:
        if span[0] == span[1]:
            return h_BTE, state
        if recompute:
            h_BTE, state, _ = recomputed(self._run_layers, h_BTE, state, span, valid_BT=valid_BT)
        else:
            h_BTE, state, _ = self._run_layers(h_BTE, state, span, valid_BT=valid_BT, capture=capture)
        return h_BTE, state

    def _run_layer(
        self,
        number: int,
        h_BTE: Tensor,
        state: Tensor | None,
        angles: ops.Rotation | None,
        valid_BT: Tensor | None,
        tail: Tensor | None,
        sight: Sight | None,
        *,
        capture: dict[int, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None, AttentionCache | None]:
        """Run a layer over a whole window; under sliding eviction, attention also returns its keys and values."""
        layer = self.layers[number]
        if self.config.layer_kinds[number] != "attn":
            angles = None  # compiled code would take them for another kind of input
        elif sight is not None or capture is not None:
            seen = reading(sight, number, valid_BT, h_BTE)
            if capture is not None and first_change(layer) is not None:  # looked at while it runs: its hooks are called once
                seen["looking"] = functools.partial(capture.__setitem__, number)
            elif capture is not None:
                capture[number] = layer.attention_weights(h_BTE, angles=angles, **seen)  # type: ignore[operator]
            if sight is not None or "looking" in seen:
                h_BTE, state, own = layer(h_BTE, state, angles=angles, **seen)
                return h_BTE, state, None, None if sight is None else own
        h_BTE, state, tail = self._functions.run(self.layers[number], h_BTE, state, angles, valid_BT, tail)  # type: ignore[arg-type]
        return h_BTE, state, tail, None

    def _write_layers(self, h_BTE: Tensor, state: ModelState, span: tuple[int, int], valid_BT: Tensor | None) -> ModelState:
        last = self._last_needed(span, state)
        if last is None:
            return state
        whole = first_change(self.layers[last]) is not None
        h_BTE, state, _ = self._run_layers(h_BTE, state, (span[0], last + whole), valid_BT=valid_BT)
        if whole:
            return state
        before = state.fast_weights[last]
        if before is None:
            assert state.sight is not None
            left = self.layers[last].read(h_BTE, angles=self._angles(h_BTE, None, (last, last + 1)))  # type: ignore[operator]
            return state._replace(sight=state.sight.with_own(last, [left]))
        written, tail = self._functions.write(self.layers[last], h_BTE, before, valid_BT, state.conv_tail(last))  # type: ignore[arg-type]
        return state.with_layers(last, [written], [tail])

    def _run_silently(
        self, h_BTE: Tensor, state: ModelState, span: tuple[int, int], valid_BT: Tensor | None
    ) -> tuple[Tensor, ModelState]:
        """Run layers without a graph, but for the fast weights' own recurrence."""
        states, tails, own, angles = [], [], [], self._angles(h_BTE, None, span)
        constants = state.detach()
        for number in range(*span):
            before, tail = state.fast_weights[number], constants.conv_tail(number)
            with torch.no_grad():
                read = h_BTE.detach()
                start = constants.fast_weights[number]
                h_BTE, after, left, seen = self._run_layer(number, read, start, angles, valid_BT, tail, state.sight)
            if before is not None and after is not None and before.requires_grad:
                after = carried(self.layers[number], read, before, after, valid_BT, tail)  # type: ignore[arg-type]
            states.append(after)
            tails.append(left)
            own.append(seen)
        state = state.with_layers(span[0], states, tails)
        if state.sight is not None:
            state = state._replace(sight=state.sight.with_own(span[0], own))
        # Like an embedded window, it wants a gradient: compiled code would take it for another kind of input.
        return h_BTE.detach().requires_grad_(), state

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
            InvalidInputError: if a weight is not finite, or of a dtype that cannot be read again.
            OSError: if the disk refuses; what was there stays.
        """
        write_model(self, self.config, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a folder written by ``save``; nothing is ever unpickled. Warns once for files that have no digest.

        Raises:
            CheckpointError: if the folder is missing, damaged or of another kind, or a weight is not finite.
        """
        return read_folder(Path(folder), cls._read)

    @classmethod
    def _read(cls, folder: Path) -> Self:
        model, weights = cls(read_config(folder)), folder / "model.safetensors"
        take_stored_dtypes(model, weights)
        load_weights(model, weights)
        return model
