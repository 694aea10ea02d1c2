"""Tabs, models, own input, tour, theme and width of the dashboard in a real browser."""

import json
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright", reason="needs playwright: pip install -e .[test]")

from playwright.sync_api import Browser, Page

from sleepkit.bench.browser import CONTEXT_SLIDER, DEPTH_SLIDER, N_SLIDER, choose
from tests.browser.test_dashboard import Visit, answers, press, status, until, weights

pytestmark = pytest.mark.browser


@pytest.fixture
def visitor(chrome: Browser, address: str) -> Iterator[Visit]:
    visitor = Visit(chrome, address)
    yield visitor
    visitor.page.close()


def search(page: Page) -> str:
    found: str = page.evaluate("decodeURIComponent(location.search)")
    return found


def test_another_model_of_another_task_is_chosen_from_the_list(visitor: Visit) -> None:
    page = visitor.go()
    choose(page, "Model", "depo-explorer")
    until(lambda: "model=depo-explorer" in search(page), page)
    until(lambda: "hops of reasoning" in page.locator(".sk-text .sk-title").inner_text(), page)
    until(lambda: "windows of 32 tokens" in status(page), page)
    assert answers(page, 4)
    assert visitor.errors == []


def test_the_tabs_show_both_n_their_difference_and_the_data(visitor: Visit) -> None:
    page = visitor.go("?n_passes=4&compare=2")
    page.get_by_role("button", name="side by side").click()
    until(lambda: page.locator(".sk-right .sk-title").count() == 1, page)
    until(lambda: "N = 2" in page.locator(".sk-right .sk-title").inner_text(), page)
    page.get_by_role("button", name="difference").click()
    until(lambda: page.locator(".sk-weights-difference .js-plotly-plot .main-svg").count() > 0, page)
    page.get_by_role("button", name="data", exact=True).click()
    until(lambda: page.locator(".sk-data table.sk-table").count() == 3, page)
    page.locator(".sk-data").get_by_role("combobox").click()
    page.locator(".MuiMenuItem-root:visible").filter(has_text="accuracy.csv").click()
    page.wait_for_timeout(500)
    with page.expect_download() as waiting:
        page.locator(".sk-data").get_by_text("Download").click()
    with open(waiting.value.path()) as file:
        assert file.readline().startswith("source,n_passes,depth,accuracy")
    assert "tab=" in search(page)
    assert visitor.errors == []


def test_the_tab_and_the_compared_n_of_the_address_are_opened(visitor: Visit) -> None:
    page = visitor.go("?tab=side+by+side&compare=3")
    until(lambda: "N = 3" in page.locator(".sk-right .sk-title").inner_text(), page)


def test_own_input_is_refused_in_words_while_it_is_typed_and_then_shown(visitor: Visit) -> None:
    page = visitor.go()
    field = page.get_by_label("Own example")
    field.press_sequentially("0101")
    until(lambda: page.locator("p.MuiFormHelperText-root.Mui-error").count() == 1, page)
    before = weights(page)
    page.get_by_role("button", name="Edit the example on show").click()
    until(lambda: "own input" in page.locator(".sk-text .sk-title").inner_text(), page)
    # The same example in the user's words; what the model is first seen with is bundled with half the digits.
    assert weights(page) == pytest.approx(before, abs=0.01)
    text = field.input_value()
    flipped = ("1" if text[0] == "0" else "0") + text[1:]
    field.fill(flipped)
    until(lambda: weights(page) != pytest.approx(before, abs=0.01), page)
    assert flipped.split()[0] in search(page).replace("+", " ")
    assert visitor.errors == []


def test_a_click_on_the_timeline_looks_at_that_pass(visitor: Visit) -> None:
    page = visitor.go("?n_passes=3")
    plot = page.locator(".sk-timeline .js-plotly-plot")
    places = plot.evaluate("plot => plot.data.flatMap(trace => (trace.customdata || []).map(String))")
    assert "1,2" in {place.replace(" ", "") for place in places}, json.dumps(places)[:300]
    plot.evaluate("""plot => plot.emit('plotly_click', {points: [{data: plot.data[0], fullData: plot._fullData[0],
        curveNumber: 0, pointNumber: 0, x: 0, y: 0, customdata: [1, 2]}]})""")
    until(lambda: "window 1, after pass 2 of 3" in page.locator(".sk-timeline .sk-title").inner_text(), page)


def test_the_tour_walks_through_four_steps(visitor: Visit) -> None:
    page = visitor.go()
    page.get_by_role("button", name="Tour", exact=True).click()
    card = page.locator(".sk-tour [role=status]")
    until(lambda: card.count() and "1 of 4: Without sleep" in card.inner_text(), page)
    until(lambda: answers(page, 1), page)
    for step in ("2 of 4", "3 of 4", "4 of 4"):
        page.get_by_role("button", name="Next").click()
        until(lambda step=step: step in card.inner_text(), page)
    page.get_by_role("button", name="Done").click()
    until(lambda: not page.get_by_role("button", name="Close the tour").is_visible(), page)


def test_dark_mode_outlives_a_reload(visitor: Visit) -> None:
    page = visitor.go()
    colour = "plot => plot.layout.font.color"
    light = page.locator(".sk-accuracy .js-plotly-plot").evaluate(colour)
    page.get_by_label("Toggle theme").click()
    until(lambda: "theme=dark" in search(page), page)
    again = visitor.go(search(page))
    until(lambda: again.locator(".sk-accuracy .js-plotly-plot").evaluate(colour) != light, again)


@pytest.mark.parametrize(("query", "colour"), [("?theme=dark", "rgb(18, 18, 18)"), ("", "rgba(0, 0, 0, 0)")])
def test_a_dark_page_is_dark_before_any_script_has_run(chrome: Browser, address: str, query: str, colour: str) -> None:
    context = chrome.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address + query)
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == colour
    context.close()


def test_help_opens_from_the_keyboard(visitor: Visit) -> None:
    page = visitor.go()
    button = page.locator(".sk-accuracy summary")
    button.focus()
    button.press("Enter")
    assert "best constant answer" in page.locator(".sk-accuracy details").inner_text()


def test_on_a_phone_the_panes_lie_below_each_other_and_nothing_sticks_out(chrome: Browser, address: str) -> None:
    visitor = Visit(chrome, address)
    page = visitor.page
    page.set_viewport_size({"width": 390, "height": 844})
    visitor.go()
    until(lambda: not page.locator(".MuiDrawer-paper").first.is_visible(), page)
    tops = []
    for name in ("fast-weights", "accuracy", "attention", "text"):
        box = page.locator(f".sk-{name}").first.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        tops.append(box["y"])
    assert tops == sorted(tops)
    assert len(set(tops)) == 4
    page.close()


def test_a_model_chosen_after_other_settings_were_changed_begins_at_its_own(visitor: Visit) -> None:
    page = visitor.go()
    press(page, N_SLIDER, "ArrowRight")
    until(lambda: "after pass 5 of 5" in page.locator(".sk-fast-weights .sk-title").inner_text(), page)
    press(page, CONTEXT_SLIDER, "ArrowRight")
    until(lambda: "5 strings (trained on 4)" in status(page), page)
    choose(page, "Model", "depo-explorer")
    until(lambda: "As trained: 8 nodes, windows of 32 tokens, N from 1 to 4" in status(page), page)
    until(lambda: "after pass 4 of 4" in page.locator(".sk-fast-weights .sk-title").inner_text(), page)
    assert "n_passes=4&" in search(page)
    assert "context=8&" in search(page)


def test_the_depth_slider_asks_the_depth_it_names(visitor: Visit) -> None:
    page = visitor.go("?depth=2")
    for key, depth in (("ArrowRight", "3 steps of reasoning"), ("ArrowLeft", "2 steps"), ("ArrowLeft", "1 step of reasoning")):
        press(page, DEPTH_SLIDER, key)
        until(lambda words=depth: words in page.locator(".sk-text .sk-title").inner_text(), page)
    assert visitor.errors == []
