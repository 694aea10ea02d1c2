"""One block: sequence mixer, then MLP, each with a norm before and a residual around (Lee et al. 2026, sec. 2)."""

from typing import Any

import torch
from torch import Tensor, nn

from sleepkit import ops
from sleepkit.model.attention import Attention
from sleepkit.model.config import ModelConfig
from sleepkit.model.door import remember
from sleepkit.model.gated_delta_net import GatedDeltaNet
from sleepkit.model.jet import Jet
from sleepkit.model.mamba2 import Mamba2
from sleepkit.model.mlp import MLP
from sleepkit.model.norms import normed
from sleepkit.model.state import AttentionCache, ConvCache, LayerCache

MIXERS: dict[str, type[Attention] | type[GatedDeltaNet]] = {
    "attn": Attention,
    **{mixer.kind: mixer for mixer in (GatedDeltaNet, Jet, Mamba2)},
}


class Block(nn.Module):
    """h <- h + Mixer(Norm h);  h <- h + MLP(Norm h)."""

    def __init__(self, config: ModelConfig, kind: str) -> None:
        super().__init__()
        self.mixer_norm = nn.RMSNorm(config.width, eps=config.norm_eps)
        self.mixer = MIXERS[kind](config)
        self.mlp_norm = nn.RMSNorm(config.width, eps=config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, h_BTE: Tensor, state: Tensor | None, **reading: Any) -> tuple[Tensor, Tensor | None, LayerCache]:
        """Run the block on the residual stream; ``reading`` is what else the mixer takes: angles, valid_BT, cache, ...

        Padding is read as 0, whatever lies there (NaN too).
        """
        valid_BT = reading.get("valid_BT")
        h_BTE = ops.blanked(h_BTE, None if valid_BT is None else valid_BT[:, -h_BTE.shape[1] :])
        mixed, state, cache = self.mixer(normed(h_BTE, self.mixer_norm), state, **reading)
        h_BTE = h_BTE + mixed
        return h_BTE + self.mlp(normed(h_BTE, self.mlp_norm)), state, cache

    def attention_weights(self, h_BTE: Tensor, **reading: Any) -> Tensor:
        """Return the softmax weights [B, H, T, S] of a block with attention over a whole window, without a gradient."""
        with torch.no_grad():
            return self.mixer.weights(normed(h_BTE, self.mixer_norm), **reading)  # type: ignore[operator]

    def read(self, h_BTE: Tensor, *, angles: ops.Rotation) -> AttentionCache:
        """Return the keys and values that ``forward`` leaves, without computing a residual stream that nobody reads."""
        return self.mixer.read(normed(h_BTE, self.mixer_norm), angles=angles)  # type: ignore[operator]

    def write(
        self, h_BTE: Tensor, state: Tensor, *, valid_BT: Tensor | None = None, cache: ConvCache | None = None
    ) -> tuple[Tensor, ConvCache]:
        """Return the state and the cache that ``forward`` returns, without computing a residual stream that nobody reads."""
        h_BTE = ops.blanked(h_BTE, valid_BT)
        return self.mixer.write(normed(h_BTE, self.mixer_norm), state, valid_BT=valid_BT, cache=cache)  # type: ignore[operator]


remember(Block, "__call__", "forward", "read", "write")
