"""``python -m service``: serve a bundle over HTTP, make an API key, or print the answer's JSON Schema."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any, Final, get_args

from pydantic import ValidationError

from service.settings import PREFIX, Settings

_EXAMPLES: Final = """\
examples:
  python -m service                                   on this machine only, port 8000
  python -m service --host 0.0.0.0 --port 9000        for the network
  python -m service --threads 2 --max-clip-seconds 60
  python -m service key dashboard >> keys.toml        shows a new key once; only its hash goes to the file
  python -m service --api-keys-file keys.toml         for callers with a key
  python -m service schema > docs/schema/predict-v1.json

Every option is also a variable: --max-upload-bytes is VCEMO_MAX_UPLOAD_BYTES. The pre-trained parts come from
`python -m model.assets fetch`, once. SIGTERM finishes what is in flight and exits with 0.
"""


class _WithoutTorch(MetaPathFinder):
    """spaCy imports torch where that is installed: two seconds and 150 MB that nothing here makes use of."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == "torch":
            raise ModuleNotFoundError("serving does without torch", name=fullname)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    command, key_name = given.pop("command"), given.pop("key_name")
    if (command == "key") != (key_name is not None):
        parser.error("key needs a NAME, and nothing else does: python -m service key dashboard")
    if key_name is not None:
        return _print_key(key_name)
    if command == "schema":
        from service.schemas import predict_schema

        print(json.dumps(predict_schema(), indent=2, ensure_ascii=False))
        return 0
    try:
        settings = Settings(**given)
    except ValidationError as error:
        for mistake in error.errors():
            name = "".join(str(part) for part in mistake["loc"])
            print(
                f"error: {name + ': ' if name else ''}{mistake['msg'].removeprefix('Value error, ')}", file=sys.stderr
            )
        return 2
    sys.meta_path.insert(0, _WithoutTorch())
    # Before numpy is loaded, which nothing above does: OpenBLAS starts a thread for each processor of the host, here
    # and in every decode worker. Nobody uses them (one_blas_thread), and a container may not allow so many.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # Here, because it takes seconds to import what --help and a bad setting do not need.
    from service.server import serve

    return serve(settings)


def _print_key(name: str) -> int:
    from service.keys import make_key

    try:
        secret, lines = make_key(name)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # Apart, so that the lines can be sent to the file and the key still shows.
    print(f"the key, for the caller; it is kept nowhere:\n\n  {secret}\n", file=sys.stderr)
    print(lines)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Serve a bundle: recordings in, emotions with calibrated probabilities out.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=("serve", "key", "schema"),
        default="serve",
        help="key makes an API key, schema prints the answer's JSON Schema",
    )
    parser.add_argument("key_name", nargs="?", metavar="NAME", help="of the key to make; shown in logs and metrics")
    for name, field in Settings.model_fields.items():
        default: Any = field.get_default(call_default_factory=True, validated_data={})
        described = (
            f"{field.description} ({PREFIX}{name.upper()}, default: {default})" if str(default) else field.description
        )
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            metavar="|".join(get_args(field.annotation)) or name.rsplit("_", 1)[-1].upper(),
            help=(described or "").replace("%", "%%"),
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
