"""Quizzes and the two sliders answer to the keyboard, and are right."""

import math
import re

import pytest

from tests.browser_tabs import PHONE

pytestmark = pytest.mark.browser


def test_a_quiz_answers_to_the_keyboard(new_tab):
    tab = new_tab(PHONE)
    page = tab.open("book/quizzes.html")
    question = page.locator(".quiz-question").first
    answers = question.locator("details")
    answers.first.locator("summary").focus()
    for number in range(answers.count()):
        answer = answers.nth(number)
        assert not answer.locator("p").is_visible()
        page.keyboard.press("Enter")
        assert re.match(r"(Right|Wrong)\. \S", answer.locator("p").inner_text())
        assert answer.locator("p").is_visible()
        page.keyboard.press("Tab")
    assert question.locator(".quiz-right").count() == 1
    assert tab.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_temperature_answers_to_the_keyboard_and_is_right(new_tab, scheme):
    tab = new_tab(PHONE, scheme)
    page = tab.open("book/math_toolbox.html")
    box = page.locator("div.temperature")
    slider, said = box.get_by_role("slider"), box.locator(".temperature-said")

    def state():
        tau = 10 ** float(slider.input_value())
        shown = box.locator("tbody td:last-child").all_inner_texts()
        return tau, [float(text.rstrip("\u00a0%")) / 100 for text in shown]

    seen = []
    for key in ("Home", "ArrowRight", "End"):
        slider.focus()
        page.keyboard.press(key)
        tau, shares = state()
        powers = [math.exp((s - 0.9) / tau) for s in (0.9, 0.7, 0.5, 0.1)]
        assert shares == pytest.approx([p / sum(powers) for p in powers], abs=0.006)
        loss = float(re.search(r"Loss (\d+\.\d\d)", said.inner_text())[1])
        assert loss == pytest.approx(math.log(sum(powers)), abs=0.006)
        assert slider.get_attribute("aria-valuetext").startswith("temperature ")
        seen.append(tau)
    assert seen[0] < seen[1] < seen[2]
    bars = box.locator(".bar > div")
    widths = [bars.nth(n).bounding_box()["width"] for n in range(4)]
    assert max(widths) < 1.15 * min(widths)  # at temperature 10 all are alike
    page.keyboard.press("Home")
    assert bars.nth(0).bounding_box()["width"] > 15 * bars.nth(3).bounding_box()["width"]
    assert box.bounding_box()["width"] < PHONE[0]
    assert tab.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_funnel_answers_to_the_keyboard_and_is_right(new_tab, scheme):
    tab = new_tab(PHONE, scheme)
    page = tab.open("book/concepts.html")
    box = page.locator("div.funnel")
    slider, said = box.get_by_role("slider"), box.locator(".temperature-said")
    one_pass, dots = 6 * (12 * 384**2 * 64 + 2 * 384 * 64**2), 64_000_000
    for key, k in (("Home", 1), ("End", 1_000_000)):
        slider.focus()
        page.keyboard.press(key)
        assert slider.get_attribute("aria-valuetext") == f"{k:,} candidates"
        shares = [
            float(x.rstrip("\u00a0%")) for x in box.locator("tbody td:last-child").all_inner_texts()
        ]
        ranking = 100 * k * one_pass / (k * one_pass + dots)
        assert shares == pytest.approx([100 - ranking, ranking], abs=0.06)
    assert "takes 1.9 hours: 0.64 milliseconds for 1,000,000 dot products" in said.inner_text()
    page.keyboard.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "794,328 candidates"
    assert box.bounding_box()["width"] < PHONE[0]
    assert tab.errors == []
