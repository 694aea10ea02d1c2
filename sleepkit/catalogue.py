"""What there is, by name, each with its sentence: the lists that the command line prints and looks names up in.

Nothing is imported for a list, so that a mistyped name costs no second. What a name stands for is where its module says.
"""

# The first line of each task's description (sleepkit.tasks).
TASKS = {
    "affine": "Affine chains mod p: where the first d maps take a value, a control that should not need depth.",
    "circuit": "Values in a boolean circuit, asked at gates of chosen depth.",
    "depo": "Hops along a cycle that is spread over the evicted context.",
    "gsm": "Arithmetic over facts that are spread over the evicted context.",
    "permutations": "Composition of the first d permutations of S5, or of a group that is easier to follow.",
    "pointer-chasing": "Pointer chasing: k hops in a random function that was read edge by edge.",
    "rule110": "Rule 110 on a ring, fixed or mixed depth.",
}

# The first line of each preset's description (sleepkit.experiments.presets).
PRESETS = {
    "depo-explorer": "Figure 3 on a laptop: Depo with a cycle of 8 in one window, 1 to 4 hops, N drawn from 1..4 at every step.",
    "fig2a": "Figure 2a of Lee et al. 2026: Rule 110 at one depth t, N = 1, accuracy against tokens.",
    "fig2b": "Figure 2b of Lee et al. 2026: Rule 110, fixed N, the same tokens in the same order for every N.",
    "fig3": "Figure 3 of Lee et al. 2026: Depo, fixed N, loss and accuracy by the number of hops.",
    "fig4": "Figure 4 of Lee et al. 2026, from scratch: GSM in symbols, fixed N, accuracy by operations.",
    "fig5": "Figure 5 of Lee et al. 2026, from scratch: the problems of Figure 4 under sliding eviction, fixed N.",
    "passes-or-layers": "Is a pass worth a layer? Figure 2b with models of 2, 4 or 8 layers, so that layers x N can be held.",
    "rule110-explorer": "One small model for a whole slider: depths 1..10 on a ring of 16, N drawn from 1..5 at every step.",
}

# What each figure draws (sleepkit.experiments.figures; fig6 is a measurement, sleepkit.bench.windows).
FIGURES = {
    "fig2a": "Rule 110, N = 1, accuracy against tokens, one line per depth t",
    "fig2b": "Rule 110, N = 1, 2, 4 (paper: 1, 2, 3, 4), equal tokens",
    "fig3": "Depo, N = 1, 2, 4, by the number of hops k",
    "fig4": "GSM in symbols from scratch, N = 1, 2, 4, by operations (paper: two pretrained models, 1.4 B and 2 B)",
    "fig5": "GSM in symbols from scratch under sliding eviction, N = 1, 2, 4, by operations (paper: Ouro 1.4 B, L = 512)",
    "fig6": "What windows in turn cost against all at once, and what N passes cost",
    "passes-or-layers": "Rule 110, N x layers held: 2 layers with N = 4, 4 with N = 2, 8 with N = 1",
}

SIZES = ("smoke", "cpu", "paper")

# What each suite measures (sleepkit.bench).
SUITES = {
    "ops": "the operations, against their references and peers",
    "train": "a training step",
    "latency": "what a change on a page costs",
    "memory": "what a training step holds",
    "session": "reading and answering token by token",
    "tasks": "the generators of the tasks",
    "dashboard": "the served pages, and a crowd of visitors",
}


def table(names: dict[str, str]) -> str:
    """Return names and their sentences as lines."""
    width = max(map(len, names))
    return "\n".join(f"{name:<{width}}  {sentence}" for name, sentence in names.items())
