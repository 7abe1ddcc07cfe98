"""Command line of the bundle store: ``python -m model.bundles COMMAND --store URL``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from model.bundle_store import BundleStore, Pointer
from model.errors import VcemoError, VersionMissing

_EXAMPLES: Final = """\
examples:
  python -m model.bundles push artifacts/vcemo-whisper-zh --store bundles --promote
  python -m model.bundles list --store s3://models/vcemo
  python -m model.bundles promote 0.5.0 --store s3://models/vcemo
  python -m model.bundles rollback --store s3://models/vcemo
  python -m model.bundles candidate 0.5.0 --store bundles       services compare it with the current one
  python -m model.bundles pull --store bundles --out here       the current version

A store is a folder, or a URL such as s3://BUCKET/PREFIX (install with the extra s3; credentials and AWS_ENDPOINT_URL_S3
as usual). Services that are started with --bundle-store follow its current version within seconds.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 where it could not be done."""
    options = _parser().parse_args(arguments)
    out = Console(highlight=False, markup=False, soft_wrap=True)
    commands = {
        "push": _push,
        "pull": _pull,
        "list": _list,
        "promote": _promote,
        "rollback": _rollback,
        "candidate": _candidate,
        "withdraw": _withdraw,
    }
    try:
        commands[options.command](BundleStore(options.store), options, out)
    except VcemoError as error:
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"error: {error}", style="red")
        return 1
    return 0


def _push(store: BundleStore, options: argparse.Namespace, out: Console) -> None:
    stored, is_new = store.push(options.bundle)
    out.print(f"{stored.facts.version} {'was pushed to' if is_new else 'is already in'} {store.url}")
    if options.promote:
        _tell(store, store.promote(stored.facts.version), out)


def _pull(store: BundleStore, options: argparse.Namespace, out: Console) -> None:
    pointer = store.pointer()
    version = options.version
    if version is None:
        if pointer is None:
            raise VersionMissing(f"{store.url} has no current version: name one", value=store.url)
        version = pointer.version
    folder = store.pull(version, options.out)
    out.print(f"{version} of {store.url} is in {folder}")


def _list(store: BundleStore, _: argparse.Namespace, out: Console) -> None:
    pointers = {name: store.pointer(name) for name in ("current", "candidate")}
    table = Table("version", "name", "created", "mean recall", "")
    for one in store.versions():
        recall = one.facts.metrics.get("mean_recall")
        roles = [name for name, pointer in pointers.items() if pointer and pointer.version == one.facts.version]
        shown = f"{recall['value']:.3f}" if isinstance(recall, dict) else ""
        table.add_row(one.facts.version, one.facts.name, one.facts.created, shown, ", ".join(roles))
    out.print(table)


def _promote(store: BundleStore, options: argparse.Namespace, out: Console) -> None:
    _tell(store, store.promote(options.version, expected=options.expected), out)


def _rollback(store: BundleStore, _: argparse.Namespace, out: Console) -> None:
    _tell(store, store.rollback(), out)


def _candidate(store: BundleStore, options: argparse.Namespace, out: Console) -> None:
    store.nominate(options.version)
    out.print(f"{options.version} is the candidate in {store.url}")


def _withdraw(store: BundleStore, _: argparse.Namespace, out: Console) -> None:
    store.withdraw()
    out.print(f"{store.url} has no candidate")


def _tell(store: BundleStore, pointer: Pointer, out: Console) -> None:
    before = f"; before: {pointer.before[-1][0]}" if pointer.before else ""
    out.print(f"{pointer.version} is current in {store.url}{before}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.bundles",
        description="Keep versions of bundles in a folder or an object store, and say which one is served.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_subparsers(dest="command", required=True).add_parser
    push = add("push", help="verify a bundle and copy it into the store")
    push.add_argument("bundle", type=Path, help="folder of the bundle")
    push.add_argument("--promote", action="store_true", help="make it the current version as well")
    pull = add("pull", help="copy a version out of the store, every file checked")
    pull.add_argument("version", nargs="?", help="default: the current one")
    pull.add_argument("--out", type=Path, required=True, help="folder to write the bundle to")
    listing = add("list", help="every version, and which one is current")
    promote = add("promote", help="make a version the current one")
    promote.add_argument("version")
    promote.add_argument("--expected", help="only if this version is current now")
    rollback = add("rollback", help="make the version before the current one")
    candidate = add("candidate", help="have services compare a version with the current one, on live traffic")
    candidate.add_argument("version")
    withdraw = add("withdraw", help="have no candidate any more")
    for command in (push, pull, listing, promote, rollback, candidate, withdraw):
        command.add_argument("--store", required=True, metavar="URL", help="folder or URL of the store")
    return parser


if __name__ == "__main__":
    sys.exit(main())
