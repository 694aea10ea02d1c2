"""Pictures: xarray in, plotly figure out. No torch, no state."""

from sleepkit.plots.accuracy import accuracy_by_depth, accuracy_summary
from sleepkit.plots.anatomy import probe_by_pass, probe_map, state_by_pass
from sleepkit.plots.attention import attention, attention_summary
from sleepkit.plots.difference import (
    attention_difference,
    attention_difference_summary,
    fast_weights_difference,
    fast_weights_difference_summary,
)
from sleepkit.plots.exchange import accuracy_by_blocks
from sleepkit.plots.fast_weights import (
    colour_limit,
    fast_weight_change,
    fast_weight_change_summary,
    fast_weights,
    fast_weights_summary,
)
from sleepkit.plots.gain import accuracy_gain, accuracy_gain_summary
from sleepkit.plots.generalisation import accuracy_by_passes
from sleepkit.plots.learning import learning_curves
from sleepkit.plots.memory import memory_reading, memory_reading_summary
from sleepkit.plots.moment import last_pass, pass_name
from sleepkit.plots.mosaic import head_at
from sleepkit.plots.probability import probability_bars, probability_summary
from sleepkit.plots.reasoning import automaton_history, reasoning_path, reasoning_summary
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
from sleepkit.plots.spectrum import state_norm, state_norm_summary, state_spectrum, state_spectrum_summary
from sleepkit.plots.text import answer_line, token_summary, token_text
from sleepkit.plots.theme import Theme, palette, pass_colour
from sleepkit.plots.timeline import timeline, timeline_summary
from sleepkit.plots.windows import throughput

__all__ = [
    "RunLine",
    "Theme",
    "accuracy_by_blocks",
    "accuracy_by_depth",
    "accuracy_by_passes",
    "accuracy_gain",
    "accuracy_gain_summary",
    "accuracy_summary",
    "answer_line",
    "attention",
    "attention_difference",
    "attention_difference_summary",
    "attention_summary",
    "automaton_history",
    "colour_limit",
    "fast_weight_change",
    "fast_weight_change_summary",
    "fast_weights",
    "fast_weights_difference",
    "fast_weights_difference_summary",
    "fast_weights_summary",
    "head_at",
    "last_pass",
    "learning_curves",
    "memory_reading",
    "memory_reading_summary",
    "palette",
    "pass_colour",
    "pass_name",
    "probability_bars",
    "probability_summary",
    "probe_by_pass",
    "probe_map",
    "reasoning_path",
    "reasoning_summary",
    "run_accuracy",
    "run_accuracy_summary",
    "run_colour",
    "run_curves",
    "run_curves_summary",
    "run_dash",
    "run_passes",
    "run_passes_summary",
    "state_by_pass",
    "state_norm",
    "state_norm_summary",
    "state_spectrum",
    "state_spectrum_summary",
    "throughput",
    "timeline",
    "timeline_summary",
    "token_summary",
    "token_text",
]
