"""A recording from the upload to its corrected labels."""

from base64 import b64encode
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, expect
from service_fixtures import Running, wav

from dashboard.conftest import OpenPage, check_looks, give

POSITION = "document.querySelector('.sound input[type=range]').getAttribute('aria-valuetext')"
SHARES = "(element) => [parseFloat(element.style.left), parseFloat(element.style.width)]"


def pick(page: Page, recording: Path) -> None:
    page.get_by_label("Drop a recording here").set_input_files(recording)


def test_what_is_shown_is_what_the_service_answers(judged: Page, running: Running, two_sides: Path) -> None:
    answer = running.predict(two_sides.read_bytes()).json()
    rows = judged.locator(".utterance")
    expect(rows).to_have_count(len(answer["segments"]))
    for row, segment in zip(rows.all(), answer["segments"], strict=True):
        assert row.get_attribute("data-id") == segment["id"]
        expect(row.locator(".said")).to_have_text(segment["text"])
        expect(row.locator(".who")).to_have_text(segment["role"].capitalize())
    talk_ms = answer["summary"]["roles"][1]["talk_ms"]
    expect(judged.get_by_role("region", name="Customer")).to_contain_text(f"{talk_ms / 1000:.1f}\u00a0s")


def test_a_role_that_is_not_judged_is_shown_as_such_everywhere(judged: Page) -> None:
    agent = judged.locator(".utterance", has_text="Agent")
    expect(agent).to_contain_text("not judged")
    expect(agent.get_by_role("toolbar")).to_have_count(0)
    expect(judged.get_by_role("region", name="Agent")).to_contain_text("does not infer the emotion of this role")
    expect(judged.locator(".block.unjudged")).to_have_count(1)


def test_the_waveform_is_drawn_for_each_side(judged: Page) -> None:
    drawn = judged.locator(".waveform > div").evaluate(
        "(host) => [...host.shadowRoot.querySelectorAll('canvas')].map((one) => one.getContext('2d')"
        ".getImageData(0, 0, one.width, one.height).data.some((value) => value > 0))"
    )
    assert len(drawn) >= 2
    assert all(drawn)


def test_a_click_on_a_segment_plays_it_and_stops_at_its_end(judged: Page) -> None:
    judged.locator(".utterance", has_text="Customer").locator(".when").click()
    judged.get_by_role("button", name="Pause").wait_for()
    expect(judged.locator(".utterance[aria-current]")).to_contain_text("Customer")
    judged.get_by_role("button", name="Play", exact=True).wait_for()
    begin, width = judged.locator(".block[aria-pressed=true]").evaluate(SHARES)
    (at, _) = judged.locator(".line").evaluate(SHARES)
    assert begin + width - 1 <= at <= begin + width + 10


def test_the_strongest_moment_jumps_to_its_time(judged: Page) -> None:
    judged.keyboard.press("Home")
    moment = judged.locator(".moments button").first
    moment.click()
    assert judged.evaluate(POSITION).split(" / ")[0] == moment.inner_text().split()[0]
    expect(judged.locator(".utterance[aria-current]")).to_contain_text("Customer")


def test_keys_play_step_and_walk(judged: Page) -> None:
    judged.locator("main").focus()
    judged.keyboard.press("k")
    expect(judged.locator(".utterance[aria-current]")).to_contain_text("Agent")
    judged.keyboard.press("j")
    expect(judged.locator(".utterance[aria-current]")).to_contain_text("Customer")
    judged.keyboard.press("ArrowLeft")
    assert judged.evaluate(POSITION).startswith("0:00")
    judged.keyboard.press("Space")
    judged.get_by_role("button", name="Pause").wait_for()
    judged.keyboard.press("Space")
    judged.get_by_role("button", name="Play", exact=True).wait_for()


def test_a_judged_call_can_be_used_by_everybody_and_on_a_phone(judged: Page) -> None:
    check_looks(judged)


def test_one_click_corrects_a_label_and_the_service_keeps_it(
    open_page: OpenPage, running: Running, two_sides: Path
) -> None:
    call = give(open_page(), two_sides)
    row = call.locator(".utterance", has_text="Customer").first
    right = "angry" if "sad" in row.locator(".badge").inner_text() else "sad"
    row.get_by_role("button", name=right).click()
    expect(row).to_contain_text("corrected")
    expect(call.locator(".block.corrected")).to_have_count(1)
    request_id = call.url.rpartition("/")[2]
    kept = running.client.get("/v1/feedback", params={"request_id": request_id}).json()["feedback"]
    assert [(one["segment_id"], one["label"]) for one in kept] == [(row.get_attribute("data-id"), right)]


def test_a_dropped_recording_is_judged_as_a_picked_one(open_page: OpenPage, two_sides: Path) -> None:
    page = open_page()
    dropped = page.evaluate_handle(
        "(bytes) => { const all = new DataTransfer();"
        "const file = new File([Uint8Array.from(atob(bytes), (one) => one.charCodeAt(0))], 'dropped.wav');"
        "all.items.add(file); return all; }",
        b64encode(two_sides.read_bytes()).decode(),
    )
    page.locator(".drop").dispatch_event("drop", {"dataTransfer": dropped})
    expect(page.get_by_role("heading", level=1)).to_have_text("dropped.wav")


def test_a_kept_recording_is_a_job_that_can_be_opened_again_without_its_sound(
    open_page: OpenPage, two_sides: Path
) -> None:
    page = open_page()
    page.get_by_label("Keep the result as a job").check()
    give(page, two_sides)
    page.reload()
    page.get_by_role("heading", name="Transcript").wait_for()
    expect(page.locator(".waveform")).to_contain_text("The service keeps no recordings")
    page.get_by_label("Add the recording").set_input_files(two_sides)
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_enabled()
    page.get_by_role("link", name="Recordings").click()
    job = page.locator(".job").first
    expect(job).to_contain_text("done")
    job.get_by_role("button", name="Forget").click()
    expect(page.locator(".job")).to_have_count(0)


def test_what_cannot_be_decoded_is_told_in_the_services_words(open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "letter.wav").write_bytes(b"To whom it may concern" * 9)
    page = open_page(may_fail=True)
    pick(page, tmp_path / "letter.wav")
    told = page.get_by_role("alert")
    expect(told).to_contain_text("The format is not supported")
    expect(told).to_contain_text("unsupported_audio")
    expect(told.get_by_role("button", name="Try again")).to_be_visible()


def test_a_service_that_is_gone_is_told(open_page: OpenPage, two_sides: Path) -> None:
    page = open_page(may_fail=True)
    page.context.set_offline(True)
    pick(page, two_sides)
    expect(page.get_by_role("alert").first).to_contain_text("The service cannot be reached")


def test_a_call_that_is_not_kept_leads_to_the_first_page(open_page: OpenPage) -> None:
    page = open_page("call/0123456789abcdef", may_fail=True)
    expect(page.locator(".state")).to_contain_text("not kept here any more")


def test_silence_is_nothing_to_judge(open_page: OpenPage, tmp_path: Path) -> None:
    (tmp_path / "silence.wav").write_bytes(wav(np.zeros(16_000, dtype=np.float32)))
    page = open_page()
    pick(page, tmp_path / "silence.wav")
    expect(page.locator("main")).to_contain_text("Nobody speaks in this recording")
