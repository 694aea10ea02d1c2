"""Pictures: xarray in, plotly figure out. No torch, no state."""

from sleepkit.plots.accuracy import accuracy_by_depth, accuracy_summary
from sleepkit.plots.anatomy import probe_by_pass, probe_map, state_by_pass
from sleepkit.plots.attention import attention, attention_summary
from sleepkit.plots.exchange import accuracy_by_blocks
from sleepkit.plots.fast_weights import fast_weight_change, fast_weights, fast_weights_summary
from sleepkit.plots.generalisation import accuracy_by_passes
from sleepkit.plots.learning import learning_curves
from sleepkit.plots.moment import last_pass, pass_name
from sleepkit.plots.runs import (
    RunLine,
    run_accuracy,
    run_accuracy_summary,
    run_colour,
    run_curves,
    run_curves_summary,
    run_dash,
    run_passes,
    run_passes_summary,
)
from sleepkit.plots.text import answer_line, token_text
from sleepkit.plots.theme import Theme, palette, pass_colour
from sleepkit.plots.windows import throughput

__all__ = [
    "RunLine",
    "Theme",
    "accuracy_by_blocks",
    "accuracy_by_depth",
    "accuracy_by_passes",
    "accuracy_summary",
    "answer_line",
    "attention",
    "attention_summary",
    "fast_weight_change",
    "fast_weights",
    "fast_weights_summary",
    "last_pass",
    "learning_curves",
    "palette",
    "pass_colour",
    "pass_name",
    "probe_by_pass",
    "probe_map",
    "run_accuracy",
    "run_accuracy_summary",
    "run_colour",
    "run_curves",
    "run_curves_summary",
    "run_dash",
    "run_passes",
    "run_passes_summary",
    "state_by_pass",
    "throughput",
    "token_text",
]
