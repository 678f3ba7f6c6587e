"""Sharing data: ``make remote``, ``make remote-local``, ``make push``, ``make pull``."""

import argparse
import sys
from pathlib import Path

from visiongate.errors import VisiongateError
from visiongate.sharing.address import Remote, own_remote, team_remote
from visiongate.sharing.setting import describe, set_remote
from visiongate.sharing.transfer import pull, push

IN_GIT = """\
Nothing is pushed: the default remote is .dvc/store, which git shares. `make store` fills it; `make remote URL=s3://bucket/path`
sets one for more than it should hold"""
INTERRUPTED = 130  # as a shell tells of a command that was interrupted


def _set_team(options: argparse.Namespace) -> str:
    return _set(team_remote(options.url, options.endpoint), options)


def _set_own(options: argparse.Namespace) -> str:
    return _set(own_remote(options.folder, Path.cwd()), options)


def _set(remote: Remote, options: argparse.Namespace) -> str:
    return describe(
        remote, set_remote(Path.cwd(), remote, lambda line: print(line, flush=True), replace=options.force)
    )


def _push(_options: argparse.Namespace) -> str:
    if push(Path.cwd()):
        return "All that dvc.lock names is in the default remote, and the runs that made it"
    return IN_GIT


def _pull(_options: argparse.Namespace) -> str:
    pull(Path.cwd())
    return "All that dvc.lock names is here"


def main(arguments: list[str]) -> int:
    """Run the command that the arguments name; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        print(options.run(options))
    except VisiongateError as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{options.command}: interrupted; repeat it, and it goes on where it stopped", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="remote", description="Share data with a team.")
    commands = parser.add_subparsers(dest="command", required=True)
    team = commands.add_parser("remote", help="make a bucket the default remote")
    team.add_argument("--url", required=True)
    team.add_argument("--endpoint", default="", help="of an S3 server that is not Amazon's")
    team.set_defaults(run=_set_team)
    own = commands.add_parser("remote-local", help="make a folder the default remote of this machine")
    own.add_argument("--folder", required=True)
    own.set_defaults(run=_set_own)
    for command in (team, own):
        command.add_argument("--force", action="store_true", help="replace a remote with another address")
    commands.add_parser("push", help="push what dvc.lock names, and the runs").set_defaults(run=_push)
    commands.add_parser("pull", help="pull what dvc.lock names, and the runs").set_defaults(run=_pull)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
