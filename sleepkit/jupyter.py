"""What notebooks need: a kernel that is this very interpreter, and figures that are drawn wherever a notebook is read."""

import asyncio
import base64
import contextvars
import functools
import gzip
import json
import os
import sys
import uuid
from collections.abc import Callable, Mapping
from html import escape
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


PLOTLY_MIMETYPE = "application/vnd.plotly.v1+json"
RENDERER = "sleepkit"
# Read where scripts run; elsewhere, as on GitHub, the words in the middle stay. "<" is written so that no text ends the script.
_FIGURE = """<div id="{place}" style="min-height:{height}px"><em>{title}</em> (a figure, drawn where scripts may run)</div>
<script>
(window.sleepkitPlotly || Promise.reject()).then(Plotly => {{
  const place = document.getElementById("{place}"), figure = {figure}
  place.replaceChildren()
  Plotly.newPlot(place, figure.data, figure.layout, {{displaylogo: false, responsive: true}})
}}).catch(() => {{}})
</script>"""
# JupyterLab draws figures from their data and needs no copy of plotly.
_LIBRARY = """<script>
if (!window.sleepkitPlotly && !document.getElementById("jupyter-config-data")) {{
  window.sleepkitPlotly = (async () => {{
    const bytes = Uint8Array.from(atob("{packed}"), letter => letter.charCodeAt(0))
    const code = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text()
    const script = document.createElement("script")
    script.textContent = code
    document.head.append(script)
    return window.Plotly
  }})()
}}
</script>"""


def figure_html(figure: Mapping[str, Any]) -> str:
    """Return a plotly figure, a dict of data and layout, as HTML that draws it once ``figure_library`` stands in the page."""
    import plotly.io

    text = plotly.io.to_json({"data": figure["data"], "layout": figure.get("layout", {})}, validate=False)
    layout = figure.get("layout") or {}
    title = str((layout.get("title") or {}).get("text") or "Figure")
    return _FIGURE.format(
        place=f"sleepkit-{uuid.uuid4().hex}",
        height=int(layout.get("height") or 360),
        title=escape(title),
        figure=text.replace("<", "\\u003c"),
    )


@functools.cache
def figure_library() -> str:
    """Return plotly's script as HTML, packed: 2.0 MB in place of 4.8."""
    import plotly.offline

    packed = gzip.compress(plotly.offline.get_plotlyjs().encode(), mtime=0)
    return _LIBRARY.format(packed=base64.b64encode(packed).decode())


def register_renderer() -> str:
    """Make plotly keep figures as data, for front ends, and as HTML, for pages made of a notebook; return the name."""
    import plotly.io
    from plotly.io.base_renderers import MimetypeRenderer

    class FigureRenderer(MimetypeRenderer):  # type: ignore[misc]
        """A figure twice: data that a front end draws, and HTML for pages that nothing but a browser shows."""

        def to_mimebundle(self, fig_dict: dict[str, Any]) -> dict[str, Any]:
            data = json.loads(plotly.io.to_json(fig_dict, validate=False))
            return {PLOTLY_MIMETYPE: data, "text/html": figure_html(fig_dict)}

    plotly.io.renderers[RENDERER] = FigureRenderer()
    return RENDERER


def in_kernel() -> bool:
    """Return whether this is a kernel, whose outputs a notebook keeps."""
    shell = sys.modules.get("IPython")
    return shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None
