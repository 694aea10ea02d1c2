"""Figures of an executed notebook are drawn wherever it is read: by front ends from their data, by a browser alone from HTML."""

import re
from pathlib import Path

import nbformat
import plotly.graph_objects as go
import plotly.io as pio
import pytest
from nbconvert import HTMLExporter

from sleepkit.jupyter import PLOTLY_MIMETYPE, RENDERER, figure_html, figure_library, register_renderer

TITLE = "Loss </script> & <b>more</b>"


@pytest.fixture
def bundle() -> dict[str, object]:
    """What a notebook keeps of a figure."""
    register_renderer()
    figure = go.Figure(go.Scatter(y=[1.0, 2.0]), layout={"title": {"text": TITLE}, "height": 300})
    made: dict[str, object] = pio.renderers[RENDERER].to_mimebundle(figure.to_plotly_json())
    return made


def page(bundle: dict[str, object]) -> str:
    """The page that nbconvert makes of a notebook with the library in one cell and a figure in the next."""
    node = nbformat.v4
    outputs = [{"text/html": figure_library()}, bundle]
    cells = [node.new_code_cell("", outputs=[node.new_output("display_data", data)]) for data in outputs]
    text, _ = HTMLExporter().from_notebook_node(node.new_notebook(cells=cells))
    return str(text)


def test_a_figure_is_kept_as_data_for_front_ends_and_as_html_for_browsers(bundle: dict[str, object]) -> None:
    assert set(bundle) == {PLOTLY_MIMETYPE, "text/html"}
    data = bundle[PLOTLY_MIMETYPE]
    assert isinstance(data, dict)
    assert data["layout"]["title"]["text"] == TITLE


def test_no_text_of_a_figure_ends_its_script() -> None:
    html = figure_html({"data": [{"name": TITLE}], "layout": {"title": {"text": TITLE}}})
    assert html.count("</script>") == 1
    assert html.rstrip().endswith("</script>")


def test_the_library_is_packed() -> None:
    assert len(figure_library()) < 2_200_000


def test_a_page_made_by_nbconvert_holds_the_figure_and_asks_nobody_for_plotly(bundle: dict[str, object]) -> None:
    text = page(bundle)
    assert "Plotly.newPlot" in text
    assert not [link for link in re.findall(r'src="(https?:[^"]*)"', text) if "plotly" in link]


@pytest.mark.browser
def test_a_page_made_by_nbconvert_draws_the_figure(bundle: dict[str, object], tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="needs playwright: pip install -e .[test]")
    from sleepkit.bench.browser import chromium, chromium_path

    if chromium_path() is None:
        pytest.skip("needs a Chromium")
    path = tmp_path / "page.html"
    path.write_text(page(bundle))
    with chromium() as browser:
        shown = browser.new_page()
        shown.route(re.compile("^https?:"), lambda route: route.abort())
        shown.goto(path.as_uri(), wait_until="domcontentloaded")
        shown.wait_for_selector(".js-plotly-plot .main-svg", timeout=120_000)
        assert shown.locator(".js-plotly-plot").count() == 1
