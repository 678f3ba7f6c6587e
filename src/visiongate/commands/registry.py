"""The registry's commands: ``make registry``, ``make rollback``, ``make compare``, ``make trace``."""

import argparse
import sys
from pathlib import Path

from visiongate import paths
from visiongate.adapters.mlflow_store import Store, open_store
from visiongate.errors import VisiongateError
from visiongate.registry.leaderboard import Board, compare_runs
from visiongate.registry.overview import describe_registry
from visiongate.registry.rebuild import Plan, Rebuilt, clone_address, rebuild
from visiongate.registry.rollback import rollback
from visiongate.registry.trace import Trace, describe_trace, trace_version
from visiongate.settings.schema import Settings, load_settings

PLAN = Plan("train", paths.TRANSFORMED, paths.MODEL_ONNX)


def show(store: Store, settings: Settings, _options: argparse.Namespace) -> int:
    """List the versions."""
    print(describe_registry(store, settings.registry.name))
    return 0


def roll_back(store: Store, settings: Settings, options: argparse.Namespace) -> int:
    """Put an earlier champion back."""
    version = rollback(store, settings.registry.name, options.to, options.why, force=options.force)
    print(f"{version.name}: version {version.number} is champion")
    return 0


def compare(store: Store, settings: Settings, options: argparse.Namespace) -> int:
    """Put the best runs side by side."""
    print(compare_runs(store, Board(options.metric, options.top, settings.registry.name)))
    return 0


def trace(store: Store, settings: Settings, options: argparse.Namespace) -> int:
    """Say what a version was made from; make it again if that is asked for."""
    uri = options.version or f"models:/{settings.registry.name}@champion"
    found = trace_version(store, uri)
    print(describe_trace(found, clone_address(Path.cwd())))
    return _verify(found) if options.verify else 0


def _verify(found: Trace) -> int:
    print()
    rebuilt = rebuild(found, PLAN, lambda line: print(line, flush=True))
    print(_tell(rebuilt))
    return 0 if rebuilt.same else 1


def _tell(rebuilt: Rebuilt) -> str:
    differences = "".join(f"\n  {difference}" for difference in rebuilt.differences)
    if rebuilt.same:
        return f"The same: {PLAN.model} has md5 {rebuilt.found} again, after {rebuilt.seconds:.0f} s"
    return (
        f"Not the same: {PLAN.model} has md5 {rebuilt.found}, not {rebuilt.expected}; what differs between then and now:"
        f"{differences or chr(10) + '  nothing that is recorded'}"
    )


def main(arguments: list[str]) -> int:
    """Run the command that the arguments name; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings()
        status: int = options.run(open_store(settings.tracking), settings, options)
    except VisiongateError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="registry", description="Look at the registry and put it right.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show", help=show.__doc__).set_defaults(run=show)
    back = commands.add_parser("rollback", help=roll_back.__doc__)
    back.add_argument(
        "--to", metavar="NUMBER", help="the version to put back; by default the champion before"
    )
    back.add_argument("--why", default="no reason given", help="the reason, for the tags")
    back.add_argument("--force", action="store_true", help="take a version that never passed the gate")
    back.set_defaults(run=roll_back)
    best = commands.add_parser("compare", help=compare.__doc__)
    best.add_argument("--top", type=_positive, default=5, help="how many runs")
    best.add_argument("--metric", default="test/accuracy")
    best.set_defaults(run=compare)
    origin = commands.add_parser("trace", help=trace.__doc__)
    origin.add_argument("version", nargs="?", help="models:/NAME/3 or models:/NAME@champion")
    origin.add_argument(
        "--verify", action="store_true", help="make it again in a temporary clone, and compare"
    )
    origin.set_defaults(run=trace)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
