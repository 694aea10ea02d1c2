"""From an event in the browser to the picture that belongs to it, by the browser's own clock.

The watch starts with the first key or click after it was armed. A figure counts as drawn anew when plotly has drawn other
numbers, shapes or labels than it showed, and the browser has painted them; the text when its elements changed. The time of an
event is that of the last of them, once nothing more has changed for a while.
"""

from typing import TYPE_CHECKING

from sleepkit.bench.browser import plots

if TYPE_CHECKING:
    from playwright.sync_api import Page

# The fast weights come first: an event that leaves their mosaic as it was has not been answered.
WATCHED = ("fast-weights", "timeline", "attention")
QUIET_MS = 350
_WAIT_MS = 60_000
_INSTALL = """plots => {
  const flat = values => Array.from(values || []).flatMap(each => typeof each === 'object' && each ? Array.from(each) : [each])
  const add = (total, value, index) => total + (Number.isFinite(value) ? value * (1 + index % 89) : 0)
  const numbers = trace => ['x', 'y', 'z'].map(axis => flat(trace[axis]).reduce(add, 0))
  const looks = plot => JSON.stringify([
    plot.data.map(trace => [numbers(trace), trace.marker, trace.line]),
    plot.layout.shapes, (plot.layout.annotations || []).map(note => note.text)])
  const watch = window.sleepkitWatch = {armed: false, began: 0, drawn: {}}
  const note = name => { if (watch.began) { watch.drawn[name] = performance.now() } }
  const start = event => { if (watch.armed) { Object.assign(watch, {armed: false, began: event.timeStamp}) } }
  for (const kind of ['keydown', 'click']) { document.addEventListener(kind, start, true) }
  plots.forEach((plot, index) => {
    let shown = looks(plot)
    plot.on('plotly_afterplot', () => {
      const now = looks(plot)
      if (now !== shown) {
        shown = now
        requestAnimationFrame(() => setTimeout(() => note(index), 0))
      }
    })
  })
}"""
_WATCH_TEXT = """table => {
  const painted = () => requestAnimationFrame(() => setTimeout(() => {
    if (window.sleepkitWatch.began) { window.sleepkitWatch.drawn.text = performance.now() } }, 0))
  new MutationObserver(painted).observe(table.getRootNode(), {childList: true, subtree: true})
}"""
_ARM = "Object.assign(window.sleepkitWatch, {armed: true, began: 0, drawn: {}})"
_SETTLED = """quiet => {
  const {drawn} = window.sleepkitWatch
  return drawn[0] && performance.now() - Math.max(...Object.values(drawn)) > quiet
}"""
_TOOK = "Math.max(...Object.values(window.sleepkitWatch.drawn)) - window.sleepkitWatch.began"


class Stopwatch:
    """Times events on one page.

    Args:
        page: the dashboard, full, with its tab of single panes open.
    """

    def __init__(self, page: "Page") -> None:
        self._page = page
        page.locator(", ".join(f".sk-{name} .js-plotly-plot" for name in WATCHED)).first.wait_for()
        handles = [handle for name in WATCHED for handle in plots(page, name).element_handles()]
        page.evaluate(_INSTALL, handles)
        page.locator(".sk-text .sk-answers").first.evaluate(_WATCH_TEXT)

    def arm(self) -> None:
        """Start with the next key or click."""
        self._page.evaluate(_ARM)

    def read_s(self) -> float:
        """Wait for the picture and return the seconds from the event to it.

        Raises:
            playwright.sync_api.TimeoutError: if the fast weights stay as they were for a minute.
        """
        self._page.wait_for_function(_SETTLED, arg=QUIET_MS, polling=50, timeout=_WAIT_MS)
        return float(self._page.evaluate(_TOOK)) / 1000
