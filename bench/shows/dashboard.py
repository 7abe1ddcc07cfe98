"""The dashboard in a real browser, before a real service and real recordings: pictures, and what can be counted."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from playwright.sync_api import Browser, Page

from bench.browser import PHONE, axe_findings, chromium, collect_complaints, overflow_pixels
from bench.figures import Figure, Report
from bench.serving.server import service_command, started
from bench.workbench import Workbench
from model.audio import SAMPLE_RATE_HZ, decode_audio

FOLDER: Final = Path("build/dashboard")

_DESKTOP: Final[dict[str, Any]] = {"viewport": {"width": 1280, "height": 900}}
_LOOKS: Final[dict[str, dict[str, Any]]] = {
    "desktop": _DESKTOP,
    "dark": {**_DESKTOP, "color_scheme": "dark"},
    "chinese": {**_DESKTOP, "locale": "zh-CN"},
    "phone": {**PHONE, "device_scale_factor": 2},
}
_ROLES: Final = "agent,customer"
_AGENT, _CUSTOMER = "zhaoquanyin", "wangzhe"
_TURNS: Final = (
    (_CUSTOMER, "neutral"),
    (_AGENT, "neutral"),
    (_CUSTOMER, "angry"),
    (_AGENT, "neutral"),
    (_CUSTOMER, "angry"),
    (_CUSTOMER, "sad"),
    (_AGENT, "happy"),
    (_CUSTOMER, "surprise"),
    (_AGENT, "neutral"),
    (_CUSTOMER, "happy"),
)
_PAUSE_SECONDS: Final = 0.9
_RULES: Final = """
[[rule]]
name = "customer-angry"
role = "customer"
emotion = "angry"
above = 0.6
count = 2
of = 3
severity = "critical"
"""
_PATIENCE_MS: Final = 60_000


@dataclass(kw_only=True, slots=True)
class _Seen:
    """What has come of looking at pages."""

    pictures: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    overflow: int = 0

    def look(self, page: Page, name: str, *, whole: bool = True, to: str | None = None) -> None:
        """Take a picture. to: cut it off under the first element of this selector."""
        page.evaluate("scrollTo(0, 0)")
        clip = None
        if to is not None:
            box = page.locator(to).first.bounding_box()
            assert box is not None
            assert page.viewport_size is not None
            clip = {
                "x": 0.0,
                "y": 0.0,
                "width": float(page.viewport_size["width"]),
                "height": box["y"] + box["height"] + 16,
            }
        page.screenshot(path=FOLDER / f"{name}.png", full_page=whole, clip=clip)  # type: ignore[arg-type]
        self.pictures.append(f"{FOLDER}/{name}.png")
        self.findings += [f"{name}: {finding}" for finding in axe_findings(page)]
        self.overflow = max(self.overflow, overflow_pixels(page))


def measure(workbench: Workbench) -> Report:
    """Upload a call, correct it, stream it, watch the board; in four looks, and where something goes wrong."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    seen = _Seen()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        call = _call(workbench, folder / "call.wav")
        (folder / "rules.toml").write_text(_RULES, encoding="utf-8")
        (folder / "letter.wav").write_bytes(b"no recording at all")
        options = ("--channel-roles", _ROLES, "--unjudged-roles", "agent", "--state-folder", str(folder / "state"))
        command = service_command(
            workbench.bundle, workbench.cache, *options, "--alert-rules-file", str(folder / "rules.toml")
        )
        with (
            started("the service", command, ready_path="/health/ready") as server,
            chromium(microphone=call) as browser,
        ):
            for look, context in _LOOKS.items():
                _look_at_recordings(browser, server.url, look, context, call=call, seen=seen)
            _look_at_an_error(browser, server.url, folder / "letter.wav", seen)
            _look_at_a_live_call(browser, server.url, call, seen)
    return Report(
        title="The dashboard in Chromium",
        figures=[
            Figure(name="pictures taken", value=len(seen.pictures), floor=12),
            Figure(
                name="complaints of the browser: scripts, policy", value=len(seen.complaints), floor=0, better="lower"
            ),
            Figure(name="findings of axe-core", value=len(seen.findings), floor=0, better="lower"),
            Figure(name="pixels beyond the screen's edge, 360 wide", value=seen.overflow, floor=0, better="lower"),
        ],
        remarks=[*seen.pictures, *seen.complaints, *seen.findings],
    )


@contextmanager
def _opened(browser: Browser, url: str, place: str, seen: _Seen, context: dict[str, Any]) -> Iterator[Page]:
    with browser.new_context(**context) as opened:
        page = opened.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        collect_complaints(page, seen.complaints)
        page.goto(f"{url}/dashboard#/{place}")
        page.locator("h1").wait_for()
        yield page


def _look_at_recordings(
    browser: Browser, url: str, look: str, context: dict[str, Any], *, call: Path, seen: _Seen
) -> None:
    with _opened(browser, url, "", seen, context) as page:
        page.locator(".check input").check()
        page.locator(".drop input").set_input_files(call)
        page.locator(".transcript").wait_for()
        page.locator(".block").first.wait_for()
        page.wait_for_function("document.querySelector('.round').disabled === false")
        customer = page.locator(".utterance.side-1")
        customer.nth(0).locator(".correction button[aria-pressed=false]").first.click()
        page.locator(".corrected-note").wait_for()
        customer.nth(1).locator(".when").click()
        page.wait_for_timeout(900)
        page.locator(".round").click()
        page.mouse.move(0, 0)
        seen.look(page, f"{look}-call")
        if look == "desktop":
            # Without the transcript: what a corpus's speakers say stays out of the documentation.
            seen.look(page, "docs-call", to=".sound")
        page.goto(f"{url}/dashboard#/")
        page.locator(".job").first.wait_for()
        seen.look(page, f"{look}-recordings")


def _look_at_an_error(browser: Browser, url: str, letter: Path, seen: _Seen) -> None:
    unheard = _Seen()  # the browser reports the refusal, as it should
    with _opened(browser, url, "", unheard, _DESKTOP) as page:
        page.locator(".drop input").set_input_files(letter)
        page.locator(".problem").wait_for()
        seen.look(page, "error", whole=False)


def _look_at_a_live_call(browser: Browser, url: str, call: Path, seen: _Seen) -> None:
    with (
        _opened(browser, url, "live", seen, _DESKTOP) as board,
        _opened(browser, url, "live", seen, _LOOKS["phone"]) as phone,
        _opened(browser, url, "talk", seen, _DESKTOP) as page,
    ):
        seen.look(board, "live-empty", whole=False)
        page.locator("input[type=radio]").nth(1).check()
        page.locator("input[type=file]").set_input_files(call)
        page.locator(".card button.primary").click()
        page.locator(".alert").wait_for()
        seen.look(page, "talk-alert")
        board.locator(".alert").wait_for()
        seen.look(board, "live-alert", whole=False)
        seen.look(board, "docs-live", whole=False, to=".running")
        seen.look(phone, "phone-live-alert", whole=False)
        page.locator(".summary").wait_for()
        seen.look(page, "talk-over")


def _call(workbench: Workbench, path: Path) -> Path:
    """Join CASIA clips to a call of two channels, at known times."""
    clips = [clip for clip in workbench.clips("casia") if clip.audio is not None]
    turns = []
    for number, (speaker, emotion) in enumerate(_TURNS):
        fitting = [clip for clip in clips if clip.speaker == speaker and clip.emotion == emotion]
        audio = fitting[number % len(fitting)].audio
        assert audio is not None
        turns.append((int(speaker == _CUSTOMER), decode_audio(audio).samples[0]))
    pause = round(_PAUSE_SECONDS * SAMPLE_RATE_HZ)
    call = np.zeros((sum(len(samples) + pause for _, samples in turns) + pause, 2), dtype=np.float32)
    begin = pause
    for channel, samples in turns:
        call[begin : begin + len(samples), channel] = samples
        begin += len(samples) + pause
    soundfile.write(path, call, SAMPLE_RATE_HZ, subtype="PCM_16")
    return path
