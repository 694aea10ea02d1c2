"""The hybrid language model: configuration, explicit state, blocks, sizes. A model never sees a task."""

from sleepkit.model.config import ModelConfig
from sleepkit.model.explain import Explanation, LayerPath
from sleepkit.model.hybrid import HybridLM
from sleepkit.model.outputs import BlocksOutput, PassView
from sleepkit.model.state import ModelState, WindowCache

__all__ = ["BlocksOutput", "Explanation", "HybridLM", "LayerPath", "ModelConfig", "ModelState", "PassView", "WindowCache"]
