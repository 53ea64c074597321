"""The page Circuits in use: found, looked at, taken out, resized, restored from its address, and stopped."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from interp.circuits.circuit import read_circuit
from tests.browser.accessibility import everything_fits
from tests.browser.visit import NARROW, Visit, is_too_wide

LONG = 120_000  # milliseconds: many passes of the model
FOUND = "behaviour=capital&n=8&seed=0&method=eap&corruption=pair&metric=logit_difference"


def opened(one: Visit, path: str) -> Page:
    """A page whose network is busy while the model runs."""
    one.page.goto(one.address + path)
    return one.page


@pytest.fixture
def found(visit: Callable[..., Visit]) -> Page:
    page = opened(visit(), f"/circuits?{FOUND}")
    expect(page.locator("#drawing svg")).to_be_visible(timeout=LONG)
    return page


def bar_numbers(page: Page) -> list[str]:
    expect(page.locator("#taken .bars svg")).to_be_visible(timeout=LONG)
    texts: list[str] = page.locator("#taken .bars text:not(.said)").all_text_contents()
    return texts


def test_nodes_are_taken_out_and_put_back_and_the_address_keeps_it(
    visit: Callable[..., Visit], found: Page
) -> None:
    expect(found.locator("#size-said")).to_contain_text("faithfulness")
    node = found.locator(".box.mlp").last
    name = node.get_attribute("data-node")
    node.hover()
    expect(found.locator("#node")).to_contain_text(f"{name}")
    expect(found.locator("#inside")).to_contain_text("neurons with the largest scores", timeout=LONG)
    lit = found.locator(".arrow.lit")
    assert {name} <= {lit.nth(i).get_attribute("data-source") for i in range(lit.count())} | {
        lit.nth(i).get_attribute("data-target") for i in range(lit.count())
    }
    node.click()
    expect(node).to_have_attribute("aria-pressed", "true")
    taken = bar_numbers(found)
    assert "answers" in taken and f"out={name}" in found.url
    everything_fits(found)
    again = opened(visit(size=NARROW), found.url[found.url.index("/circuits") :])
    expect(again.locator("#drawing svg")).to_be_visible(timeout=LONG)
    assert bar_numbers(again) == taken
    assert not is_too_wide(again)
    node.click()
    expect(node).to_have_attribute("aria-pressed", "false")
    expect(found.locator("#taken")).to_contain_text("Click a node")
    assert "out=" not in found.url


def test_the_slider_has_the_measured_sizes_and_the_circuit_is_saved(found: Page, tmp_path: Path) -> None:
    before = found.locator(".arrow").count()
    found.locator("#size").press("ArrowRight")
    found.locator("#size").press("ArrowRight")
    expect(found.locator(".arrow")).not_to_have_count(before)
    size = re.search(r"size=(\d+)", found.url)
    assert size is not None
    expect(found.locator("#size-said")).to_contain_text(f"{int(size[1]):,} edges")
    with found.expect_download() as download:
        found.get_by_role("button", name="JSON").click()
    download.value.save_as(tmp_path / "circuit.json")
    circuit = read_circuit(tmp_path / "circuit.json")
    names = {one.get_attribute("data-edge") for one in found.locator(".arrow").all()}
    assert names == {*circuit.edges} and circuit.n_edges <= int(size[1])


def test_the_drawing_is_moved_and_zoomed_by_keys_and_nodes_are_chosen_by_enter(found: Page) -> None:
    drawing = found.locator("#drawing")
    whole = drawing.locator("svg").get_attribute("viewBox")
    drawing.focus()
    found.keyboard.press("+")
    zoomed = drawing.locator("svg").get_attribute("viewBox")
    found.keyboard.press("ArrowRight")
    moved = drawing.locator("svg").get_attribute("viewBox")
    assert len({whole, zoomed, moved}) == 3
    found.keyboard.press("0")
    expect(drawing.locator("svg")).to_have_attribute("viewBox", whole or "")
    found.keyboard.press("Tab")
    expect(found.locator(".box:focus")).to_have_attribute("data-node", "input")
    found.keyboard.press("Enter")
    expect(found.locator(".box:focus")).to_have_attribute("aria-pressed", "true")
    found.keyboard.press("Space")
    expect(found.locator(".box:focus")).to_have_attribute("aria-pressed", "false")


def test_pairs_of_ones_own_and_what_is_wrong_with_them(visit: Callable[..., Visit]) -> None:
    one = visit()
    page = one.goto("/circuits")
    page.locator("select[name=behaviour]").select_option("")
    page.get_by_role("textbox", name="Clean prompts").fill("the capital of france is")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("alert").first).to_contain_text("no corrupted prompt, no answer, no distractor")
    page.get_by_role("textbox", name="Corrupted prompts").fill("the capital is")
    page.get_by_role("textbox", name="Answers").fill("paris")
    page.get_by_role("textbox", name="Distractors").fill("berlin")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("alert").first).to_contain_text("tokens")
    page.get_by_role("textbox", name="Corrupted prompts").fill("the capital of germany is")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#drawing svg")).to_be_visible(timeout=LONG)
    expect(page.locator("#size-said")).to_contain_text("faithfulness is not measured")
    page.reload()
    expect(page.get_by_role("textbox", name="Corrupted prompts")).to_have_value("the capital of germany is")
    expect(page.locator("#drawing svg")).to_be_visible(timeout=LONG)


def test_a_long_search_can_be_stopped(visit: Callable[..., Visit], slow: None) -> None:
    page = visit().goto("/circuits")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#status")).to_contain_text("…")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_have_text("Stopped.")
    expect(page.get_by_role("button", name="Find")).to_be_enabled()


def test_the_features_of_a_prompt_are_drawn_and_removed(visit: Callable[..., Visit]) -> None:
    page = visit().goto("/circuits")
    page.get_by_label("features, for one prompt").check()
    page.get_by_label("Prompt", exact=True).fill("the capital of france is")
    page.get_by_role("button", name="Draw the graph").click()
    expect(page.locator(".box.feature").first).to_be_visible(timeout=LONG)
    expect(page.locator("#drawing")).to_contain_text("paris")
    feature = page.locator(".box.feature").last
    name = feature.get_attribute("data-node")
    feature.focus()
    expect(page.locator("#node")).to_contain_text("Adds to it")
    page.keyboard.press("Enter")
    expect(page.locator("#taken .bars svg")).to_be_visible(timeout=LONG)
    everything_fits(page)
    page.reload()
    expect(page.locator(f'.box.taken[data-node="{name}"]')).to_be_visible(timeout=LONG)
    page.get_by_label("heads and MLPs, for a behaviour").check()
    expect(page.locator("#parts")).to_be_hidden()
