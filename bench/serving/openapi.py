"""Requests drawn from the service's own OpenAPI document, by Schemathesis with every check."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CONFIG: Final = Path(__file__).parents[2] / "tests" / "reliability" / "schemathesis.toml"
_CASES: Final = re.compile(r"(\d+) generated")


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """What became of the requests. written: what Schemathesis printed."""

    is_clean: bool
    num_requests: int
    written: str


def converse(url: str, *, examples: int, seed: int = 1) -> Conversation:
    """Send ``examples`` drawn requests to each operation, and judge each answer by the document."""
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [program, "--config-file", str(_CONFIG), "run", f"{url}/openapi.json"]
    options = ["--checks", "all", "--max-examples", str(examples), "--seed", str(seed), "--no-color"]
    ended = subprocess.run([*command, *options], capture_output=True, text=True, check=False)  # noqa: S603 - ours
    found = _CASES.search(ended.stdout)
    return Conversation(
        is_clean=ended.returncode == 0,
        num_requests=int(found[1]) if found else 0,
        written=ended.stdout + ended.stderr,
    )
