"""The hybrid language model: configuration, explicit state, blocks, sizes. A model never sees a task."""

from sleepkit.model.config import ModelConfig
from sleepkit.model.hybrid import HybridLM
from sleepkit.model.outputs import BlocksOutput, PassView
from sleepkit.model.state import ModelState, WindowCache

__all__ = ["BlocksOutput", "HybridLM", "ModelConfig", "ModelState", "PassView", "WindowCache"]
