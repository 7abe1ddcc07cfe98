"""An archive of 900 recordings over two workers, one of which is killed: every result once, and nothing to do again."""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

import psutil
import pyarrow.dataset as pds

from bench.figures import Figure, Report
from bench.workbench import Workbench

_WORKERS: Final = 2
_DAMAGED: Final = 3
_PATIENCE_SECONDS: Final = 3600.0
_WORKER_TITLE: Final = "MapWorker"


def measure(workbench: Workbench) -> Report:
    """Score CASIA and a few damaged files; kill a worker when half is done; score again."""
    clips = workbench.clips("casia")
    with tempfile.TemporaryDirectory(prefix="archive-") as name:
        folder = Path(name)
        rows = [{"key": clip.key, "audio": str(clip.audio and clip.audio.absolute())} for clip in clips]
        for number in range(_DAMAGED):
            (folder / f"damaged-{number}.wav").write_bytes(b"RIFF" + bytes(100 + number))
            rows.append({"key": f"damaged-{number}", "audio": f"damaged-{number}.wav"})
        manifest, out = folder / "calls.jsonl", folder / "scored"
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        command = [sys.executable, "-m", "training.archive", str(manifest), "--out", str(out)]
        command += ["--workers", str(_WORKERS), "--bundle", str(workbench.bundle), "--cache", str(workbench.cache)]

        began = time.perf_counter()
        killed, code = _with_a_worker_killed(command, out, half=len(clips) // 2, folder=folder)
        seconds = time.perf_counter() - began
        workbench.console.print((folder / "log").read_text()[-1500:], highlight=False, markup=False)
        results = Counter(pds.dataset(out / "results", format="parquet").to_table(columns=["key"])["key"].to_pylist())
        failed = [json.loads(line) for line in (out / "failed.jsonl").read_text(encoding="utf-8").splitlines()]
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}

        began = time.perf_counter()
        again = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        seconds_again = time.perf_counter() - began
        same = before == {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    return Report(
        title=f"{len(clips)} recordings and {_DAMAGED} damaged ones, {_WORKERS} workers, one killed (-9) in the middle",
        figures=[
            Figure(name="workers killed", value=killed, floor=1),
            Figure(name="recordings with a result", value=len(results), floor=len(clips)),
            Figure(name="most results of one recording", value=max(results.values()), floor=1, better="lower"),
            Figure(name="damaged files listed with a reason", value=len(failed), floor=_DAMAGED),
            Figure(name="exit code 1: some could not be used", value=code == 1, floor=1),
            Figure(name="seconds", value=seconds, better="lower"),
            Figure(name="again: nothing written", value=same, floor=1),
            Figure(name="again: the same exit code", value=again.returncode == code, floor=1),
            Figure(name="again: seconds", value=seconds_again, better="lower"),
        ],
        settings={"recordings": "CASIA clips of two seconds", "workers": "one thread each, Ray Data on this machine"},
        remarks=[again.stderr.strip()],
    )


def _with_a_worker_killed(command: list[str], out: Path, *, half: int, folder: Path) -> tuple[int, int]:
    """Run the command, kill one worker when half of it is done; return how many were killed, and the exit code."""
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:  # noqa: S603
        killed = 0
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if not killed and _num_results(out) >= half:
                killed = _kill_one(process.pid)
            time.sleep(0.5)
        if process.poll() is None:
            process.terminate()
        return killed, process.wait(60)


def _num_results(out: Path) -> int:
    parts = list((out / "results").glob("*.parquet"))
    return sum(pds.dataset(path, format="parquet").count_rows() for path in parts)


def _kill_one(pid: int) -> int:
    """Kill the youngest worker below a process: it dies in the middle of a recording."""
    for child in psutil.Process(pid).children(recursive=True):
        try:
            if _WORKER_TITLE in " ".join(child.cmdline()):
                child.kill()
                return 1
        except psutil.NoSuchProcess:
            continue
    return 0
