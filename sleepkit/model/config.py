"""What a hybrid language model is made of, as data."""

from typing import Literal

from sleepkit.errors import require, require_count
from sleepkit.settings import Settings, settings

FAST_KINDS = ("gdn", "jet", "mamba2")
LAYER_KINDS = ("attn", *FAST_KINDS)


@settings
class ModelConfig(Settings):
    """Settings of a HybridLM.

    Attributes:
        vocab_size: W, number of token ids.
        width: E, channels of the residual stream.
        layers: the sequence mixers in order, separated by spaces: "attn" (softmax attention over the window) or fast weights:
            "gdn" (Gated DeltaNet), "jet" (the same with a dynamic short convolution) or "mamba2" (the same without the delta
            correction). Stacks of one kind are legal: they are the paper's other baselines. Attention alone carries nothing out
            of a window: with hard eviction its answers depend on nothing before the window of the question, whatever N.
        loop: the blocks repeated asleep: "all", or [start, stop) with a prelude before and a coda after, run once.
        n_heads: heads of attention (of queries) and of fast weights (of values: one state each).
        n_key_heads: heads of queries and keys of fast weights, each serving a group of value heads; n_heads if None.
        n_kv_heads: heads of keys and values of attention, each serving a group of query heads; n_heads if None.
        key_dim: K, key channels per fast-weight head; width / n_heads if None.
        value_dim: V, value channels per fast-weight head; width / n_heads if None.
        conv_len: taps of the short convolution before q, k, v of the fast weights (of a Jet layer, before v alone).
        mlp: activation of the MLP: "relu2" (squared ReLU) or "swiglu".
        mlp_ratio: hidden channels of the MLP, as a multiple of the width.
        rope_base: base of the rotary wavelengths of attention.
        norm_eps: added to mean squares in the norms.
        allow_negative_eigenvalues: doubles beta, so that a write can also flip what was stored (arXiv 2411.12537).
        tie_embeddings: use the embedding as the output projection.
        input_injection: before every pass after the first, add what entered the looped span in pass 1 (the embedded tokens, or
            what the prelude made of them), channel by channel times a learned gate that begins at 1 (arXiv 2311.12424 adds it
            plainly). N = 1 is not changed by it.
        loop_norm: before every pass after the first, RMSNorm of the residual stream, and then the injection (Ouro,
            arXiv 2510.25741, norms after every loop). N = 1 is not changed by it.
        carry_conv: the short convolution goes on from the inputs it saw last, in the pass or window before, instead of starting
            from zeros: its tail outlives the window with the fast weights. The last tokens of a window then leak into the next.
    """

    LATER = ("n_key_heads", "n_kv_heads", "input_injection", "loop_norm", "carry_conv")

    vocab_size: int
    width: int = 256
    layers: str = "attn gdn attn gdn"
    loop: Literal["all"] | tuple[int, int] = "all"
    n_heads: int = 4
    key_dim: int | None = None
    value_dim: int | None = None
    conv_len: int = 4
    mlp: Literal["relu2", "swiglu"] = "relu2"
    mlp_ratio: float = 4.0
    rope_base: float = 10000.0
    norm_eps: float = 1e-6
    allow_negative_eigenvalues: bool = False
    tie_embeddings: bool = False
    n_key_heads: int | None = None
    n_kv_heads: int | None = None
    input_injection: bool = False
    loop_norm: bool = False
    carry_conv: bool = False

    def check(self) -> None:
        """Refuse impossible shapes."""
        for name in ("vocab_size", "width", "n_heads", "conv_len"):
            require_count(name, getattr(self, name))
        kinds = self.layer_kinds
        require(len(kinds) > 0, "layers", "must name at least one layer", self.layers)
        known = all(kind in LAYER_KINDS for kind in kinds)
        require(known, "layers", f"must be made of {', '.join(LAYER_KINDS)}", self.layers)
        require(self.width % self.n_heads == 0, "n_heads", f"must divide width={self.width}", self.n_heads)
        if "attn" in kinds:
            even = self.width // self.n_heads % 2 == 0
            rule = f"must leave an even head width of width={self.width} for rotary positions"
            require(even, "n_heads", rule, self.n_heads)
        flips = self.allow_negative_eigenvalues and "mamba2" in kinds
        rule = "must be false where layers name mamba2: without the delta correction there is nothing to flip"
        require(not flips, "allow_negative_eigenvalues", rule, self.allow_negative_eigenvalues)
        for name in ("key_dim", "value_dim"):
            value = getattr(self, name)
            require_count(name, value, or_none=True)
        for name in ("n_key_heads", "n_kv_heads"):
            value = getattr(self, name)
            divides = value is None or (value >= 1 and self.n_heads % value == 0)
            require(divides, name, f"must divide n_heads={self.n_heads}, or be None", value)
        for name in ("mlp_ratio", "rope_base", "norm_eps"):
            require(getattr(self, name) > 0, name, "must be above 0", getattr(self, name))
        if self.loop != "all":
            start, stop = self.loop
            inside = 0 <= start < stop <= len(kinds)
            require(inside, "loop", f"must be [start, stop) inside the {len(kinds)} layers", self.loop)

    @property
    def layer_kinds(self) -> tuple[str, ...]:
        """The kind of each layer, in order."""
        return tuple(self.layers.split())

    def writes(self, start: int, stop: int) -> bool:
        """Say whether any of the layers [start, stop) has fast weights."""
        return any(kind in FAST_KINDS for kind in self.layer_kinds[start:stop])

    @property
    def fast_layers(self) -> tuple[int, ...]:
        """Numbers of the layers with fast weights."""
        return tuple(number for number, kind in enumerate(self.layer_kinds) if kind in FAST_KINDS)

    @property
    def n_layers(self) -> int:
        """Number of blocks (D in the paper)."""
        return len(self.layer_kinds)

    @property
    def loop_span(self) -> tuple[int, int]:
        """Blocks [start, stop) that every pass repeats."""
        return (0, self.n_layers) if self.loop == "all" else self.loop

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.width // self.n_heads

    @property
    def key_channels(self) -> int:
        """K, key channels of one fast-weight head."""
        return self.key_dim or self.head_dim

    @property
    def value_channels(self) -> int:
        """V, value channels of one fast-weight head."""
        return self.value_dim or self.head_dim

    @property
    def key_heads(self) -> int:
        """Heads of queries and keys of fast weights."""
        return self.n_key_heads or self.n_heads

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values of attention."""
        return self.n_kv_heads or self.n_heads

    def conv_channels(self, kind: str) -> int:
        """Channels that pass through the short convolution of a fast-weight layer of a kind."""
        values = self.n_heads * self.value_channels
        return values if kind == "jet" else 2 * self.key_heads * self.key_channels + values

    @property
    def mlp_channels(self) -> int:
        """Hidden channels of the MLP."""
        return round(self.width * self.mlp_ratio)
