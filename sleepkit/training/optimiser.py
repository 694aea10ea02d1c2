"""Muon for the matrices inside the blocks, AdamW for everything else, chosen by name."""

from typing import Any

import torch
from torch import Tensor, nn

from sleepkit.model.attention import Attention
from sleepkit.model.gated_delta_net import GatedDeltaNet
from sleepkit.model.mlp import MLP
from sleepkit.training.muon import Muon
from sleepkit.training.settings import OptimiserSettings

_ADAMW_NAMES = ("embedding", "projection", "decay_and_beta", "conv")
_UNDECAYED_NAMES = ("A_log", "dt_bias", "norm")


def split_parameters(model: nn.Module) -> dict[str, dict[str, nn.Parameter]]:
    """Sort parameters by who updates them: ``muon``, ``adamw`` (with weight decay), ``adamw_undecayed``.

    Muon takes the matrices inside the blocks. Embedding, output projection, decay and beta projection and convolution taps
    go to AdamW; norms, decay rates and biases to AdamW without decay.
    """
    groups: dict[str, dict[str, nn.Parameter]] = {"muon": {}, "adamw": {}, "adamw_undecayed": {}}
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        if any(part.endswith(_UNDECAYED_NAMES) for part in parts) or parameter.ndim < 2:
            groups["adamw_undecayed"][name] = parameter
        elif any(part in _ADAMW_NAMES for part in parts):
            groups["adamw"][name] = parameter
        else:
            groups["muon"][name] = parameter
    return groups


def stacked_rows(model: nn.Module) -> dict[Tensor, tuple[int, ...]]:
    """Return the rows of each matrix in parameters that hold several: queries, keys and values; gate and up of a gated MLP."""
    rows: dict[Tensor, tuple[int, ...]] = {}
    for module in model.modules():
        if isinstance(module, Attention):
            keys = module.n_kv_heads * module.head_dim
            rows[module.qkv.weight] = (module.n_heads * module.head_dim, keys, keys)
        elif isinstance(module, GatedDeltaNet):
            keys = module.n_heads // module.group * module.key_dim
            rows[module.qkv.weight] = (keys, keys, module.n_heads * module.value_dim)
        elif isinstance(module, MLP) and module.gated:
            rows[module.up.weight] = (module.down.in_features, module.down.in_features)
    return rows


def describe_split(model: nn.Module) -> str:
    """Return the split as a table: optimiser, parameter, shape."""
    rows = [
        f"{group:<16} {name:<44} {list(parameter.shape)}"
        for group, parameters in split_parameters(model).items()
        for name, parameter in parameters.items()
    ]
    return "\n".join(rows)


class Optimiser:
    """Both optimisers behind one step, with a schedule that is a pure function of the step number."""

    def __init__(self, model: nn.Module, settings: OptimiserSettings, *, steps: int, captured: bool = False) -> None:
        """Make both optimisers.

        Args:
            model: what they update.
            settings: rates and clipping.
            steps: steps of the whole run.
            captured: keep rates and step counts on the device, where a CUDA graph reads them.
        """
        self.settings, self.steps = settings, steps
        self.groups = split_parameters(model)
        self.parameters = [p for group in self.groups.values() for p in group.values()]
        self.parts: dict[str, torch.optim.Optimizer] = {}
        decay = settings.weight_decay
        if self.groups["muon"]:
            matrices = list(self.groups["muon"].values())
            rows = stacked_rows(model) if settings.muon_apart else None
            self.parts["muon"] = Muon(matrices, lr=self._rate(settings.muon_lr, captured), weight_decay=decay, rows=rows)
        for name, value in (("adamw", decay), ("adamw_undecayed", 0.0)):
            if self.groups[name]:
                rest = list(self.groups[name].values())
                rate = self._rate(settings.adamw_lr, captured)
                self.parts[name] = torch.optim.AdamW(rest, lr=rate, weight_decay=value, fused=True, capturable=captured)

    def rate_factor(self, step: int) -> float:
        """Factor on both rates at a step counted from 0: linear warm-up, constant, linear decay."""
        warm = min(1.0, (step + 1) / max(1, self.settings.warmup_steps))
        decay_steps = self.settings.decay_share * self.steps
        cool = min(1.0, (self.steps - step) / decay_steps) if decay_steps > 0 else 1.0
        return warm * cool

    def step(self, step: int) -> Tensor:
        """Set the rates of a step, then ``update``."""
        self.set_rates(step)
        return self.update()

    def set_rates(self, step: int) -> None:
        """Set the rates of a step counted from 0."""
        for name, part in self.parts.items():
            rate = (self.settings.muon_lr if name == "muon" else self.settings.adamw_lr) * self.rate_factor(step)
            for group in part.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def update(self) -> Tensor:
        """Clip the gradients, apply them and clear them; return the norm before clipping, which may not be finite.

        Nothing here waits for the device.
        """
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm, error_if_nonfinite=False, foreach=True)
        for part in self.parts.values():
            part.step()
        self.clear()
        return norm

    def clear(self) -> None:
        """Drop the gradients."""
        for part in self.parts.values():
            part.zero_grad(set_to_none=True)

    def state_tensors(self) -> dict[str, Tensor]:
        """Return all optimiser state as named tensors (momenta and step counts)."""
        tensors = {}
        for part_name, names, part in self._named_parts():
            for name, parameter in names:
                for key, value in part.state.get(parameter, {}).items():
                    tensors[f"{part_name}/{name}/{key}"] = value if isinstance(value, Tensor) else torch.tensor(value)
        return tensors

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Put back what ``state_tensors`` returned, exactly.

        Raises:
            KeyError: if a tensor belongs to no parameter of this optimiser.
        """
        remaining = dict(tensors)
        for part_name, names, part in self._named_parts():
            for name, parameter in names:
                prefix = f"{part_name}/{name}/"
                found = {key: value for key, value in remaining.items() if key.startswith(prefix)}
                entry: dict[str, Any] = {}
                for key, value in found.items():
                    del remaining[key]
                    entry[key.removeprefix(prefix)] = value.clone().to(parameter.device)
                if entry:
                    part.state[parameter] = entry
        if remaining:
            raise KeyError(f"no parameter for {sorted(remaining)[0]!r}")

    def _rate(self, rate: float, captured: bool) -> float | Tensor:
        return torch.tensor(rate, device=self.parameters[0].device) if captured else rate

    def _named_parts(self) -> list[tuple[str, list[tuple[str, nn.Parameter]], torch.optim.Optimizer]]:
        return [(name, list(self.groups[name].items()), part) for name, part in self.parts.items()]
