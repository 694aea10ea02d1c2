"""The channel mixer of a block."""

import torch.nn.functional as F
from torch import Tensor, nn

from sleepkit import ops
from sleepkit.model.config import ModelConfig
from sleepkit.model.door import remember


class MLP(nn.Module):
    """Squared ReLU, W_down relu(W_up x)^2, or SwiGLU, W_down (SiLU(W_gate x) W_up x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gated = config.mlp == "swiglu"
        self.up = nn.Linear(config.width, config.mlp_channels * (2 if self.gated else 1), bias=False)
        self.down = nn.Linear(config.mlp_channels, config.width, bias=False)

    def forward(self, x_BTE: Tensor) -> Tensor:
        """Mix channels: [B, T, E] -> [B, T, E]."""
        if not self.gated:
            return self.down(ops.relu_square(self.up(x_BTE)))  # type: ignore[no-any-return]
        gate, up = self.up(x_BTE).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)  # type: ignore[no-any-return]


remember(MLP, "__call__", "forward")
