"""The command line of our client: a recording, uploaded or streamed as if it were spoken now."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from model.errors import VcemoError
from service.client import Client
from service.client_sound import in_real_time, read_sound

_EXAMPLES: Final = """\
examples:
  python -m service.client call.wav                                      uploads it
  python -m service.client call.wav --live --roles agent,customer        streams it in real time
  python -m service.client call.wav --live --json | jq .segment          every message, one a line
"""

_COLOURS: Final = {
    "angry": "red",
    "fear": "magenta",
    "happy": "green",
    "neutral": "white",
    "sad": "blue",
    "surprise": "yellow",
}
_SEVERITIES: Final = {"info": "cyan", "warning": "yellow", "critical": "bold red"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 1 where the service or the recording refuses."""
    options = _parser().parse_args(arguments)
    errors = Console(stderr=True)
    try:
        _stream(options) if options.live else _upload(options, errors)
    except VcemoError as error:
        errors.print(f"error: {error.message}", style="red", highlight=False, markup=False)
        return 1
    except OSError as error:
        errors.print(f"error: {options.file}: {error.strerror}", style="red", highlight=False, markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _upload(options: argparse.Namespace, errors: Console) -> None:
    with errors.status("waiting for the answer"):
        answer = Client(options.url, key=options.key).predict(options.file, channel_roles=options.roles)
    console = Console()
    if options.json:
        print(json.dumps(answer, ensure_ascii=False))
        return
    for segment in answer["segments"]:
        console.print(segment_line(segment), soft_wrap=True)
    for alert in answer["alerts"]:
        console.print(alert_line(alert), soft_wrap=True)
    _print_summary(answer["summary"], console)


def _stream(options: argparse.Namespace) -> None:
    call_format, sound = read_sound(options.file)
    events = Client(options.url, key=options.key).stream(
        in_real_time(sound, call_format), call_format, channel_roles=options.roles
    )
    if options.json:
        for event in events:
            print(json.dumps(event, ensure_ascii=False), flush=True)
        return
    with Live(Text(""), refresh_per_second=8, transient=True) as live:
        goes_on: dict[int, Text] = {}
        for event in events:
            if event["type"] == "partial":
                goes_on[event["channel"]] = _partial_line(event)
            elif event["type"] == "segment":
                goes_on.pop(event["segment"]["channel"], None)
                live.console.print(segment_line(event["segment"]), soft_wrap=True)
            elif event["type"] == "alert":
                live.console.print(alert_line(event["alert"]), soft_wrap=True)
            elif event["type"] == "summary":
                _print_summary(event["summary"], live.console)
            live.update(Text("\n").join(goes_on.values()))


def segment_line(segment: Mapping[str, Any]) -> Text:
    """When, who, how, what."""
    line = Text(f"{_time(segment['start_ms'])} {_time(segment['end_ms'])}  {_who(segment):10} ")
    if segment["emotion"] is not None:
        line.append(f"{segment['emotion']:8} {segment['confidence']:.2f}  ", style=_COLOURS.get(segment["emotion"], ""))
    else:
        line.append(f"{'-' if segment['judged'] else 'not judged':8}       ", style="dim")
    return line.append(segment["text"] or "")


def alert_line(alert: Mapping[str, Any]) -> Text:
    """An alert, by its severity."""
    line = Text(f"{_time(alert['at_ms'])} ")
    return line.append(
        f"{alert['severity']}: {alert['rule']}: {alert['message']}", style=_SEVERITIES[alert["severity"]]
    )


def _partial_line(event: Mapping[str, Any]) -> Text:
    return Text(f"{_time(event['start_ms'])} ...      {_who(event):10} {event['text'] or ''}", style="dim")


def _print_summary(summary: Mapping[str, Any] | None, console: Console) -> None:
    if summary is None:
        console.print("nobody speaks")
        return
    console.print(
        f"\n{_time(summary['duration_ms'])} in all, {_time(summary['speech_ms'])} speech, "
        f"{_time(summary['overlap_ms'])} at the same time",
        highlight=False,
    )
    for role in summary["roles"]:
        line = Text(f"{_who(role):10} {role['utterances']:3} utterances  {role['talk_share']:4.0%} of the talk  ")
        for emotion, share in sorted((role["emotions"] or {}).items(), key=lambda pair: -pair[1])[:3]:
            line.append(f"{emotion} {share:.0%}  ", style=_COLOURS.get(emotion, ""))
        console.print(line)


def _who(part: Mapping[str, Any]) -> str:
    return part["role"] or f"channel {part['channel']}"


def _time(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 60:02}:{seconds % 60:02}.{rest // 100}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service.client",
        description="Have a running service judge a recording.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="recording in any format that the service reads")
    parser.add_argument(
        "--live", action="store_true", help="stream it in real time, and print what is said as it comes"
    )
    parser.add_argument("--url", default="http://localhost:8000", help="of the service (default %(default)s)")
    parser.add_argument("--key", default="", help="API key, where the service asks for one")
    parser.add_argument("--roles", default="", help="who speaks on each channel, in order, such as agent,customer")
    parser.add_argument("--json", action="store_true", help="print the answer, or every message of a stream, as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
