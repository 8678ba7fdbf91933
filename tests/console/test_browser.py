"""The console in a real browser, with real work running: what a new user does, and sees."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from qiskit import QuantumCircuit

from qdwell import Batch, SamplerV2, Session

PAGES = (
    "/jobs", "/sessions", "/machines", "/machines/manila", "/timeline?machine=lab", "/instances",
    "/admin", "/start",
)  # fmt: skip
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
ON_TOP = """it => {
  it.scrollIntoView({ block: "center" });
  const now = it.getBoundingClientRect();
  const there = document.elementFromPoint(now.x + now.width / 2, now.y + now.height / 2);
  return it.closest("svg").contains(there);
}"""
CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]}


def bell() -> QuantumCircuit:
    circuit = QuantumCircuit(2, name="bell")
    circuit.x(0)
    circuit.cx(0, 1)
    for _ in range(12):  # wider than a phone; together they do nothing
        circuit.x(1)
    circuit.measure_all()
    return circuit


@pytest.fixture
def lab(service: Any) -> Any:
    return service.backend("lab")


def submit(mode: Any, tags: list[str] | None = None) -> Any:
    sampler = SamplerV2(mode=mode)
    sampler.options.environment.job_tags = tags or []
    return sampler.run([bell()], shots=100)


def check_axe(tab: Any, rules: dict[str, Any] = RULES) -> None:
    found = Axe().run(tab, options=rules)
    told = [
        f"{it['id']}: {it['help']}: {[node['html'][:160] for node in it['nodes'][:3]]}"
        for it in found.response["violations"]
    ]
    assert told == [], tab.url


def check_page(tab: Any, path: str) -> None:
    """By every rule in light; in the dark by the one that colours can break; a phone by width."""
    tab.emulate_media(color_scheme="light")
    tab.goto(path)
    check_axe(tab)
    tab.emulate_media(color_scheme="dark")
    check_axe(tab, CONTRAST)
    tab.set_viewport_size({"width": 390, "height": 800})
    assert tab.evaluate(WIDER) <= 0, path
    tab.set_viewport_size({"width": 1280, "height": 850})


def test_a_wrong_token_is_told_and_the_page_asked_for_is_kept(browser: Any, served: Any) -> None:
    context = browser.new_context(base_url=served.url)
    tab = context.new_page()
    tab.goto("/timeline?machine=lab")
    tab.fill("#token", "wrong")
    tab.get_by_role("button", name="Sign in").click()
    expect(tab.get_by_role("alert")).to_contain_text("not known")
    check_axe(tab)
    tab.fill("#token", served.token)
    tab.get_by_role("button", name="Sign in").click()
    expect(tab).to_have_url(re.compile(r"/timeline\?machine=lab$"))
    cookie = next(it for it in context.cookies() if it["name"] == "qdwell_console")
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    context.close()


def test_a_submitted_job_appears_by_itself_and_shows_its_circuit_and_counts(
    tab: Any, lab: Any
) -> None:
    job = submit(lab, ["browser"])
    row = tab.get_by_role("row").filter(has_text=job.job_id()[-9:])
    expect(row).to_contain_text("Completed", timeout=15_000)  # nobody has reloaded the page
    row.get_by_role("link").first.click()
    expect(tab.locator("h1")).to_have_text(job.job_id())
    expect(tab.locator("svg.circuit")).to_be_visible(timeout=20_000)
    expect(tab.locator("svg.plot")).to_be_visible()
    expect(tab.locator(".story")).to_contain_text("QPU granted")
    check_axe(tab)
    tab.set_viewport_size({"width": 390, "height": 800})  # wide pictures scroll in their boxes
    assert tab.evaluate(WIDER) <= 0
    tab.set_viewport_size({"width": 1280, "height": 850})
    tab.goto("/jobs?tag=browser&state=completed")
    expect(tab.locator("tbody tr")).to_have_count(1)
    tab.goto("/jobs?tag=browser&state=failed")
    expect(tab.get_by_role("heading", name="No job matches")).to_be_visible()


def test_a_session_is_watched_through_its_states(tab: Any, lab: Any) -> None:
    session = Session(backend=lab)
    submit(session).result()
    tab.goto(f"/sessions/{session.session_id}")
    state = tab.locator(".title .pill")
    expect(state).to_have_text("active")
    expect(tab.locator(".figures").first).to_contain_text("Interactive TTL")
    expect(state).to_have_text("inactive", timeout=15_000)  # its interactive TTL of 2 s has passed
    submit(session).result()
    expect(state).to_have_text("active", timeout=15_000)
    tab.on("dialog", lambda dialog: dialog.accept())
    tab.get_by_role("button", name="Close").click()
    expect(state).to_have_text("closed", timeout=15_000)
    expect(tab.locator("tbody tr")).to_have_count(2)
    check_axe(tab)


def test_a_waiting_job_says_why_and_is_cancelled(tab: Any, service: Any) -> None:
    slow = service.backend("slow")
    holder = Session(backend=slow)
    running = submit(holder)
    waiting = submit(slow)
    tab.goto(f"/jobs/{waiting.job_id()}")
    expect(tab.get_by_text("Why it waits:")).to_be_visible()
    tab.on("dialog", lambda dialog: dialog.accept())
    tab.get_by_role("button", name="Cancel").click()
    expect(tab.locator(".title .pill")).to_have_text("Cancelled")
    tab.goto("/machines")
    expect(tab.get_by_text("Held by your session")).to_be_visible(timeout=15_000)
    running.cancel()
    holder.cancel()


def test_the_timeline_shows_sessions_batches_and_moves(tab: Any, lab: Any) -> None:
    with Session(backend=lab) as session:
        submit(session).result()
    with Batch(backend=lab) as batch:
        jobs = [submit(batch) for _ in range(3)]
    for job in jobs:
        job.result()
    tab.goto("/timeline?machine=lab&span=60000")
    expect(tab.locator(f"a[href='/sessions/{session.session_id}'] rect").first).to_be_attached()
    expect(tab.locator(f"a[href='/jobs/{jobs[0].job_id()}'] rect").first).to_be_attached()
    before = tab.locator("#timeline").get_attribute("data-start")
    picture = tab.get_by_role("region", name=re.compile("Timeline")).bounding_box()
    assert picture
    middle, across = picture["y"] + picture["height"] / 2, picture["x"] + picture["width"] / 2
    tab.mouse.move(across, middle)
    held = int(tab.locator("#timeline").get_attribute("data-start") or 0)
    tab.mouse.down()
    tab.mouse.move(across + 200, middle, steps=4)  # pulled to the right: earlier times come
    tab.mouse.up()
    expect(tab).to_have_url(re.compile(r"from=\d+"))
    found = re.search(r"from=(\d+)", tab.url)
    assert found
    pulled = int(found[1])
    expect(tab.locator("#timeline")).to_have_attribute("data-start", str(pulled))
    assert 2_000 < held - pulled < 30_000
    before = str(pulled)
    tab.get_by_role("region", name=re.compile("Timeline")).focus()
    tab.keyboard.press("-")
    expect(tab.locator("#timeline")).not_to_have_attribute("data-start", str(before))
    tab.get_by_role("link", name="Now").click()
    with tab.expect_download() as saved:
        tab.get_by_role("link", name="Save as SVG").click()
    text = saved.value.path().read_text()
    assert text.startswith("<?xml")
    assert "<style>" in text
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="Save as PNG").click()
    assert saved.value.path().read_bytes().startswith(b"\x89PNG")
    check_axe(tab)


def test_an_operator_pauses_a_machine_and_users_see_why(tab: Any) -> None:
    tab.goto("/machines/manila")
    expect(tab.locator("svg.coupling")).to_be_visible()
    tab.select_option("#mode", "paused")
    tab.fill("#reason", "new cryostat")
    tab.get_by_role("button", name="Set").click()
    expect(tab.locator(".notice")).to_contain_text("paused: new cryostat")
    tab.select_option("#mode", "online")
    tab.fill("#reason", "")
    tab.get_by_role("button", name="Set").click()
    expect(tab.locator(".notice")).to_have_count(0)


def test_every_page_is_accessible_and_fits_a_phone(tab: Any) -> None:
    for path in PAGES:
        check_page(tab, path)
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.locator("summary", has_text="Menu").click()
    check_axe(tab)


@pytest.mark.parametrize("path", ["/instances", "/jobs/{job}"])
def test_a_plot_wider_than_a_phone_keeps_its_scale(tab: Any, lab: Any, path: str) -> None:
    """However far it is moved: the scale is on top, at the box's left edge, with its numbers."""
    sampler = SamplerV2(mode=lab)
    job = sampler.run([every(4)], shots=4_000)
    job.result()
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.goto(path.format(job=job.job_id()))
    box = tab.locator(".plot-box:has(.scale)").first
    expect(box).to_be_visible(timeout=60_000)
    beyond = box.evaluate("it => { it.scrollLeft = 9999; return it.scrollLeft }")
    assert beyond > 100
    scale = box.locator(".scale")
    assert abs(scale.bounding_box()["x"] - box.bounding_box()["x"]) < 1
    numbers = scale.locator("text")
    assert numbers.count() > 2
    for at in range(numbers.count()):
        assert numbers.nth(at).evaluate(ON_TOP), numbers.nth(at).inner_text()


def every(width: int) -> QuantumCircuit:
    """All outcomes alike: many bars."""
    circuit = QuantumCircuit(width)
    circuit.sx(range(width))
    circuit.measure_all()
    return circuit


def test_the_console_is_used_by_keyboard_alone(tab: Any) -> None:
    tab.goto("/machines")
    tab.keyboard.press("Tab")
    expect(tab.get_by_role("link", name="Skip to the content")).to_be_focused()
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    expect(tab.get_by_role("link", name="Jobs")).to_be_focused()
    tab.keyboard.press("Enter")
    expect(tab).to_have_url(re.compile("/jobs$"))


def test_without_scripts_the_pages_work_and_refresh(browser: Any, served: Any, lab: Any) -> None:
    job = submit(lab)
    job.result()
    context = browser.new_context(base_url=served.url, java_script_enabled=False)
    tab = context.new_page()
    tab.goto("/")
    tab.fill("#token", served.token)
    tab.get_by_role("button", name="Sign in").click()
    tab.goto(f"/jobs/{job.job_id()}?picture=1")
    assert tab.locator("svg.circuit").count() == 1
    tab.goto("/jobs")
    assert tab.locator("noscript meta[http-equiv=refresh], meta[http-equiv=refresh]").count() == 1
    tab.get_by_role("button", name="Sign out").first.click()
    expect(tab).to_have_url(re.compile("/sign-in$"))
    context.close()


def test_an_open_page_of_a_job_gets_its_result_by_itself(tab: Any, service: Any) -> None:
    brief = service.backend("brief")
    job = submit(brief)
    tab.goto(f"/jobs/{job.job_id()}")
    expect(tab.locator("svg.circuit")).to_be_visible(timeout=20_000)
    assert tab.locator("svg.plot").count() == 0
    expect(tab.locator(".title .pill")).to_have_text("Completed", timeout=15_000)
    expect(tab.locator("svg.plot")).to_be_visible(timeout=20_000)
