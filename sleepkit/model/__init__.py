"""The hybrid language model: configuration, explicit state, blocks, sizes. A model never sees a task."""

from sleepkit.model.config import ModelConfig
from sleepkit.model.hybrid import BlocksOutput, HybridLM, PassView
from sleepkit.model.state import ModelState, WindowCache

__all__ = ["BlocksOutput", "HybridLM", "ModelConfig", "ModelState", "PassView", "WindowCache"]
