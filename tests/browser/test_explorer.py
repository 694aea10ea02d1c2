"""Tabs, models, own input, tour, theme and width of the dashboard in a real browser."""

import json
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright", reason="needs playwright: pip install -e .[test]")

from playwright.sync_api import Browser, BrowserContext, Page

from sleepkit.bench.browser import CONTEXT_SLIDER, DEPTH_SLIDER, N_SLIDER, choose, slider, visit, wait_until_full
from sleepkit.plots import palette
from tests.browser.test_dashboard import Visit, answers, press, status, until, weights

pytestmark = pytest.mark.browser


@pytest.fixture
def visitor(tabs: BrowserContext, address: str) -> Iterator[Visit]:
    visitor = Visit(tabs, address)
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
    visit(page, address + query)
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == colour
    context.close()


def test_help_opens_from_the_keyboard_and_closes_by_escape_or_a_click_beside_it(visitor: Visit) -> None:
    page = visitor.go()
    button, words = page.get_by_role("button", name="About accuracy"), page.locator(".sk-accuracy [popover]")
    for close in (lambda: page.keyboard.press("Escape"), lambda: page.mouse.click(720, 12)):
        button.focus()
        button.press("Enter")
        assert words.is_visible()
        assert "best constant answer" in words.inner_text()
        close()
        assert not words.is_visible()
    button.press("Enter")
    page.keyboard.press("Escape")
    assert button.evaluate("button => button.matches(':focus')")


def test_help_of_every_pane_is_whole_on_the_screen(visitor: Visit) -> None:
    page = visitor.go()
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(500)
        for button in page.get_by_role("button", name="About ").all():
            button.click()
            box = page.locator("[popover]:popover-open").bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            page.keyboard.press("Escape")


def values(page: Page) -> tuple[str, str, str]:
    """What the address, the slider and the picture say of N; empty where there is none yet."""
    address = search(page).partition("n_passes=")[2].partition("&")[0]
    handle, rows = slider(page, N_SLIDER), page.locator(".sk-answers tr[data-n]")
    shown = handle.input_value() if handle.count() else ""
    return address, shown, (rows.first.get_attribute("data-n") or "") if rows.count() else ""


def test_back_and_forward_show_again_what_the_address_says(visitor: Visit) -> None:
    page = visitor.go("?n_passes=4")
    length = page.evaluate("history.length")
    for key, n_passes in (("ArrowLeft", "3"), ("ArrowLeft", "2")):
        press(page, N_SLIDER, key)
        until(lambda n_passes=n_passes: values(page) == (n_passes,) * 3, page)
        page.wait_for_timeout(1100)
    assert page.evaluate("history.length") == length + 2
    for go, n_passes in ((page.go_back, "3"), (page.go_back, "4"), (page.go_forward, "3")):
        go()
        until(lambda n_passes=n_passes: values(page) == (n_passes,) * 3, page)
    page.reload()
    until(lambda: values(page) == ("3",) * 3, page)
    page.go_back()
    until(lambda: values(page) == ("4",) * 3, page)
    assert visitor.errors == []


def test_back_returns_to_the_model_and_the_place_that_were_left(visitor: Visit) -> None:
    page = visitor.go("?window=1&sleep_pass=2")
    choose(page, "Model", "depo-explorer")
    until(lambda: "windows of 32 tokens" in status(page), page)
    page.go_back()
    until(lambda: "windows of 17 tokens" in status(page), page)
    until(lambda: "window 1, after pass 2 of 4" in page.locator(".sk-timeline .sk-title").inner_text(), page)


def test_keys_held_down_make_one_entry_of_the_history(visitor: Visit) -> None:
    page = visitor.go("?n_passes=2")
    length = page.evaluate("history.length")
    page.evaluate(
        "() => { window.keys_ms = []; window.addEventListener('keydown', () => keys_ms.push(performance.now()), true) }"
    )
    for _ in range(6):
        press(page, N_SLIDER, "ArrowRight")
    until(lambda: values(page) == ("8",) * 3, page)
    # On a busy machine some keys come more than a second apart, and are entries of their own.
    bursts = page.evaluate("keys_ms.filter((at, place) => place === 0 || at - keys_ms[place - 1] > 1000).length")
    assert 1 <= page.evaluate("history.length") - length <= bursts
    while values(page)[0] != "2":
        page.go_back()
    until(lambda: values(page) == ("2",) * 3, page)
    for _ in range(2):  # the second time the browser does not tell that the slider was let go: it was let go there before
        press(page, N_SLIDER, "ArrowLeft")
        until(lambda: values(page) == ("1",) * 3, page)
        page.go_back()
        until(lambda: values(page) == ("2",) * 3, page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colours_are_the_systems_until_the_visitor_chooses(chrome: Browser, address: str, scheme: str) -> None:
    context = chrome.new_context(color_scheme="dark" if scheme == "dark" else "light")
    page = context.new_page()
    visit(page, address)
    wait_until_full(page)
    expected, other = (palette("dark"), palette("light")) if scheme == "dark" else (palette("light"), palette("dark"))
    colour = "plot => plot.layout.font.color"
    plot = page.locator(".sk-accuracy .js-plotly-plot")
    until(lambda: plot.evaluate(colour) == expected.text, page)
    assert "theme=" not in search(page)
    page.get_by_label("Toggle theme").click()
    until(lambda: plot.evaluate(colour) == other.text, page)
    until(lambda: f"theme={'light' if scheme == 'dark' else 'dark'}" in search(page), page)
    context.close()


def test_copy_link_copies_over_plain_http_or_opens_a_field_to_copy_from(visitor: Visit) -> None:
    page = visitor.go("?n_passes=3")
    said = page.locator("[role=status]", has_text="ink")
    page.evaluate("() => { Object.defineProperty(window, 'isSecureContext', {value: false}) }")
    page.evaluate("() => document.addEventListener('copy', event => { window.copied = event.composedPath()[0].value })")
    page.get_by_role("button", name="Copy link").click()
    until(lambda: said.count() and said.inner_text() == "Link copied.", page)
    assert page.evaluate("window.copied") == page.url
    page.evaluate("() => { document.execCommand = () => false }")
    page.get_by_role("button", name="Copy link").click()
    field = page.get_by_label("Link to this page")
    until(lambda: field.is_visible(), page)
    assert field.input_value() == page.url
    assert "Ctrl+C" in said.inner_text()
    field.press("Escape")
    assert not field.is_visible()


def test_on_a_phone_the_panes_lie_below_each_other_and_nothing_sticks_out(tabs: BrowserContext, address: str) -> None:
    visitor = Visit(tabs, address)
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
