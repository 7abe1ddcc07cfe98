"""Command line of the recogniser: ``python -m model recognize FILE…``, and ``seal`` for a bundle's facts."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from model.assets import AssetStore, default_cache
from model.audio import AudioLimits
from model.bundle import Bundle, seal_again
from model.errors import AudioError, VcemoError
from model.processors import one_blas_thread, usable_processors
from model.recognizer import EmotionRecognizer, Recognition
from model.room import room_to_write
from model.speaker import Conversation

_BAR_CELLS = 24
_EXAMPLES = """\
examples:
  python -m model recognize call.wav
  python -m model recognize --json *.flac > answers.jsonl
  python -m model recognize --segments meeting.mp3
  python -m model recognize --same-speaker call-1.wav call-2.wav call-3.wav
  python -m model seal artifacts/vcemo-whisper-zh     after a change to its bundle.json that you mean

With --same-speaker the files are one call, in the order given, and each channel is one person all through. The more
has been heard of a voice, the better its moods are told from its nature: an answer depends on the files before it,
never on those after it. Leave it out where the files are of different people, or where one channel carries several:
their voices would mix.

Reads WAV, FLAC, Ogg, MP3, M4A and WebM at 4 to 192 kHz. The pre-trained parts are fetched once with
python -m model.assets fetch.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 1 if a recording could not be used, or 2 if nothing could be loaded."""
    options = _parser().parse_args(arguments)
    command = {"recognize": _recognize, "seal": _seal}[options.command]
    return command(options, Console(stderr=True))


def _seal(options: argparse.Namespace, errors: Console) -> int:
    try:
        facts = seal_again(options.bundle)
        Bundle.load(options.bundle)
    except VcemoError as error:
        errors.print(f"error: {error.message}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 2
    print(f"sealed and verified: {facts.name} {facts.version}, {options.bundle}")
    return 0


def _recognize(options: argparse.Namespace, errors: Console) -> int:
    one_blas_thread()
    try:
        with errors.status("loading"), room_to_write("a copy of the pre-trained parts"):
            recognizer = EmotionRecognizer.load(
                options.bundle, assets=AssetStore(options.cache), threads=usable_processors()
            )
            recognizer.warm_up()
    except VcemoError as error:
        errors.print(f"error: {error.message}", style="red", highlight=False, markup=False, soft_wrap=True)
        return 2
    if options.same_speaker and not recognizer.bundle.adapts_to_speakers:
        message = f"error: the bundle {options.bundle} does not adapt to speakers: leave out --same-speaker"
        errors.print(message, style="red", highlight=False, markup=False, soft_wrap=True)
        return 2
    conversation = Conversation() if options.same_speaker else None
    limits = AudioLimits(max_seconds=options.max_seconds)
    failed = 0
    for path in options.files:
        try:
            recognition = recognizer.recognize(path, limits=limits, conversation=conversation)
        except (AudioError, OSError) as error:
            errors.print(f"{path}: {error}", style="red", highlight=False, markup=False)
            failed += 1
            continue
        if options.json:
            print(json.dumps({"file": str(path)} | as_json(recognition), ensure_ascii=False))
        else:
            print_recognition(path, recognition, Console(), segments=options.segments)
    return 1 if failed else 0


def as_json(recognition: Recognition) -> dict[str, Any]:
    """Return the answer as plain values: one line of ``--json``."""
    return {
        "emotion": recognition.emotion,
        "confidence": recognition.confidence,
        "probabilities": recognition.probabilities,
        "text": recognition.text,
        "status": recognition.status,
        "duration_ms": recognition.recording.duration_ms,
        "speech_ms": recognition.speech_ms,
        "segments": [
            {
                "start_ms": one.utterance.start_ms,
                "end_ms": one.utterance.end_ms,
                "channel": one.utterance.channel,
                "text": one.transcript.text,
                "status": one.transcript.status,
                "probabilities": None if one.probabilities is None else [float(value) for value in one.probabilities],
            }
            for one in recognition.segments
        ],
        "warnings": list(recognition.warnings),
        "timings_ms": {stage: round(value, 1) for stage, value in recognition.timings_ms.items()},
    }


def print_recognition(path: Path, recognition: Recognition, console: Console, *, segments: bool) -> None:
    """Print the transcript and a bar for each emotion."""
    seconds = recognition.recording.duration_ms / 1000
    took = recognition.timings_ms["total"] / 1000
    console.print(f"[bold]{escape(str(path))}[/bold]  {seconds:.1f} s, recognised in {took:.2f} s", highlight=False)
    if recognition.probabilities is None:
        console.print("  no speech: no emotion\n")
        return
    note = "" if recognition.status == "ok" else f"  ({recognition.status}: judged by sound alone)"
    console.print(f"  {recognition.text}{note}", highlight=False, markup=False)
    table = Table(box=None, show_header=False, padding=(0, 1))
    for label, value in sorted(recognition.probabilities.items(), key=lambda item: -item[1]):
        style = "bold green" if label == recognition.emotion else "default"
        table.add_row(f"  {label}", f"{value:5.1%}", "█" * round(value * _BAR_CELLS), style=style)
    console.print(table)
    if segments:
        console.print(_segment_table(recognition))
    if recognition.warnings:
        console.print(f"  warnings: {', '.join(recognition.warnings)}")
    console.print()


def _segment_table(recognition: Recognition) -> Table:
    labels = list(recognition.probabilities or {})
    table = Table("start", "end", "channel", "emotion", "text", box=None, padding=(0, 1))
    for one in recognition.segments:
        emotion = "-" if one.probabilities is None else labels[int(one.probabilities.argmax())]
        start, end = one.utterance.start_ms / 1000, one.utterance.end_ms / 1000
        text = escape(one.transcript.text)
        table.add_row(f"{start:.1f}", f"{end:.1f}", str(one.utterance.channel), emotion, text)
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model",
        description="Recognise the emotion of Mandarin speech in recordings.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    seal = commands.add_parser("seal", help="seal a bundle again whose bundle.json was changed and nothing else")
    seal.add_argument("bundle", type=Path, metavar="FOLDER", help="folder of the bundle")
    recognize = commands.add_parser(
        "recognize",
        help="transcript and emotion of recordings",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    recognize.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recordings")
    recognize.add_argument("--json", action="store_true", help="one JSON object a line")
    recognize.add_argument("--segments", action="store_true", help="a row for each utterance as well")
    recognize.add_argument(
        "--same-speaker",
        action="store_true",
        help="the files are one call in the order given, one speaker a channel: adapt to each voice",
    )
    recognize.add_argument(
        "--bundle", type=Path, default=Path("artifacts/vcemo-whisper-zh"), help="bundle (default %(default)s)"
    )
    recognize.add_argument("--cache", type=Path, default=default_cache(), help="cache folder (now %(default)s)")
    recognize.add_argument(
        "--max-seconds", type=float, default=600.0, help="longest recording accepted (default %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
