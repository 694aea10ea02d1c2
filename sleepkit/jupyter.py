"""The kernel a notebook runs in: this very interpreter, in an event loop that is closed again."""

import asyncio
import contextvars
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager


def in_own_event_loop(work: Callable[..., Any], **arguments: Any) -> None:
    """Close the event loop that jupyter_core opens for each thread and leaves open; one that runs already is not ours."""
    from jupyter_core.utils import ensure_event_loop

    def run() -> None:
        try:
            work(**arguments)
        finally:
            loop = ensure_event_loop()
            if not loop.is_running():
                loop.close()
                asyncio.set_event_loop(None)

    contextvars.Context().run(run)


def kernel_manager(environment: Mapping[str, str], clone: Path | None) -> "type[AsyncKernelManager]":
    """Make kernels of this very interpreter that see this sleepkit, over an encrypted connection where there is one.

    Looked up by name, a python3 of the user or of JUPYTER_PATH can come before the one of the virtual environment.

    Args:
        environment: variables of the kernel.
        clone: the folder of the clone, if this is one: it is put on the kernel's path.
    """
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import default

    variables = dict(environment)
    if clone is not None:
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(clone), os.environ.get("PYTHONPATH")]))
    spec = KernelSpec(resource_dir=RESOURCES, env=variables, **get_kernel_dict())

    class ThisInterpreter(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return spec

        @default("transport_encryption")
        def _encrypt_if_possible(self) -> str:
            return "auto"

    return ThisInterpreter
