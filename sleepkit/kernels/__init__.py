"""Implementations of the operations. Only ``sleepkit.ops`` imports from here; callers use ``sleepkit.ops``.

``reference`` is the oracle (token by token), ``chunked`` the torch path for any device. Triton kernels sit beside them.
"""
