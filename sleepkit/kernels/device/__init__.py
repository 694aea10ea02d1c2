"""Programs that run on a GPU, in Triton. Importing a module of this package needs triton; sleepkit imports them at first use.

Prefixes: p_ pointer, o_ offsets, m_ mask, i_ index of this program, s_ stride in elements, d_ gradient; capitals are compile-time
sizes. A block of a size that is no power of two is padded to one and masked.
"""
