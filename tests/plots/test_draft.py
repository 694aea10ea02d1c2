"""Figures in the making: what is set stays, what is added is there, what plotly does not know is refused."""

import pytest

from sleepkit.plots.draft import Draft


def test_parts_that_are_set_leave_their_neighbours() -> None:
    draft = Draft()
    draft.update_xaxes(title={"font": {"size": 13}, "standoff": 8}, ticks="")
    draft.update_xaxes(title={"text": "pass"}, dtick=1)
    draft.update_layout(showlegend=False, margin={"l": 4})
    draft.update_layout(margin={"r": 5})
    figure = draft.done()
    assert figure.layout.xaxis.title.to_plotly_json() == {"font": {"size": 13}, "standoff": 8, "text": "pass"}
    assert (figure.layout.xaxis.ticks, figure.layout.xaxis.dtick) == ("", 1)
    assert figure.layout.margin.to_plotly_json() == {"l": 4, "r": 5}
    assert figure.layout.showlegend is False


def test_lines_and_bands_span_the_plot() -> None:
    draft = Draft()
    draft.add_vline(2.0, line={"width": 1})
    draft.add_hline(0.5, "floor", line={"dash": "dot"})
    draft.add_vband(1.0, 3.0, "trained with", opacity=0.1)
    upright, level, band = draft.done().layout.shapes
    assert (upright.x0, upright.x1, upright.yref, upright.y1) == (2.0, 2.0, "y domain", 1)
    assert (level.y0, level.y1, level.xref, level.x1) == (0.5, 0.5, "x domain", 1)
    assert (band.type, band.x0, band.x1, band.opacity) == ("rect", 1.0, 3.0, 0.1)
    assert [note.text for note in draft.done().layout.annotations] == ["floor", "trained with"]


def test_traces_keep_their_order_and_kind() -> None:
    draft = Draft()
    draft.add_heatmap(z=[[0.0, 1.0]])
    draft.add_bar(x=[1], y=[2])
    draft.add_scatter(x=[1], y=[2])
    assert [trace.type for trace in draft.done().data] == ["heatmap", "bar", "scatter"]


@pytest.mark.parametrize("change", [{"titel": {"text": "x"}}, {"height": "tall"}])
def test_what_plotly_does_not_know_is_refused(change: dict[str, object]) -> None:
    draft = Draft()
    draft.update_layout(**change)
    with pytest.raises(ValueError, match=next(iter(change))):
        draft.done()
