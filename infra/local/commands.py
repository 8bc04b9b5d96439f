"""The commands of `python -m infra.local`: one function each, which returns the exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from infra.deployment.failure import DeploymentError
from infra.local import cluster
from infra.local.building.tools import SetupError
from infra.local.drills.acts import invoke_drill
from infra.local.drills.command import drill
from infra.local.drills.kinds import KINDS
from infra.local.explaining import as_text
from infra.local.host.probe import UnfitHostError
from infra.local.linux.cgroups import CgroupError
from infra.local.machines.image_store import ImageStoreError
from infra.local.places import WorldError
from infra.local.progress import Progress
from infra.local.worlds import status as world_status
from infra.local.worlds.world import World, clean

DEFAULT_WORLD = "drill"
TOLD = (WorldError, SetupError, UnfitHostError, DeploymentError, ImageStoreError, CgroupError)
"""What a person can put right; the text says how."""


@dataclass(frozen=True)
class Command:
    name: str
    help: str
    run: Callable[[argparse.Namespace], int]
    arguments: Callable[[argparse.ArgumentParser], None] = lambda _parser: None
    of_one_world: bool = True


def up(arguments: argparse.Namespace) -> int:
    many = arguments.control_planes or cluster.CONTROL_PLANES
    cluster.up(arguments.world, delays=arguments.delays, control_planes=many, progress=Progress())
    _say(f"world {arguments.world!r} is up; `python -m infra.local shell --world {arguments.world}` goes in")
    return 0


def run_drill(arguments: argparse.Namespace) -> int:
    healed = drill(
        arguments.kind, arguments.world, arguments.delays, Progress(), control_planes=arguments.control_planes
    )
    return 0 if healed else 1


def down(arguments: argparse.Namespace) -> int:
    World.find(arguments.world).down()
    return 0


def status(arguments: argparse.Namespace) -> int:
    world = World.find(arguments.world)
    print(world_status.as_json(world) if arguments.output == "json" else world_status.as_table(world))
    return 0


def explain(arguments: argparse.Namespace) -> int:
    request = {"do": "explain", **({"machine": arguments.machine} if arguments.machine else {})}
    said = invoke_drill(cluster.enter(World.find(arguments.world)), request)
    print(json.dumps(said, indent=2) if arguments.output == "json" else as_text(said))
    return 0


def remove_all(_arguments: argparse.Namespace) -> int:
    names = clean()
    _say(f"removed: {', '.join(names)}" if names else "nothing to remove")
    return 0


def shell(arguments: argparse.Namespace) -> int:
    """Does not return: the shell takes this process' place."""
    world = World.find(arguments.world)
    variables = {**world.environment(), "PS1": f"[{world.name}] \\w # "}
    if "KUBECONFIG" not in variables:
        _say("no control plane has been initialised yet, so kubectl has no cluster to talk to")
    argv = world.command(arguments.argv or ["bash", "--norc"])
    os.execvpe(argv[0], argv, variables)  # noqa: S606


def run_in_machine(arguments: argparse.Namespace) -> int:
    """Does not return either."""
    argv = World.find(arguments.world).machine_command(arguments.machine, arguments.argv or ["bash", "--norc"])
    os.execvp(argv[0], argv)  # noqa: S606


def _up_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--delays", default="instant", choices=["instant", "aws"], help="how slow AWS is (default: instant)"
    )
    parser.add_argument(
        "--control-planes",
        type=int,
        choices=[1, 3, 5],
        help="how many a world that is brought up has (default: 1, or what the drill needs)",
    )


def _drill_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=KINDS, help="which one; below is what happens in each, and what it proves")
    parser.epilog = "\n\n".join(
        "\n".join(
            textwrap.wrap(f"{kind.name}: {kind.about}. Proves that {kind.proves}.", 100, subsequent_indent="    ")
        )
        for kind in KINDS.values()
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    _up_arguments(parser)


def _status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", default="table", choices=["table", "json"])


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("machine", nargs="?", help="its instance id (default: every machine of the cluster)")
    _status_arguments(parser)


def _shell_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("argv", nargs="*", help="a command instead of the prompt (after --)")


def _exec_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("machine", help="its instance id")
    parser.add_argument("argv", nargs="*", help="what to run in it (after --; default: a shell)")


COMMANDS = (
    Command("up", "a cluster from nothing, with Regrow deployed", up, _up_arguments),
    Command(
        "drill", "lose a machine and watch the cluster heal; brings one up if none is", run_drill, _drill_arguments
    ),
    Command("down", "stop a world; its logs stay", down),
    Command("status", "what runs in a world", status, _status_arguments),
    Command("explain", "what Regrow would do now, and why; it does nothing", explain, _explain_arguments),
    Command("clean", "stop and remove every world, and all that crashed ones left", remove_all, of_one_world=False),
    Command("shell", "a prompt inside a world, with kubectl and the AWS endpoint set", shell, _shell_arguments),
    Command("exec", "run something in a machine", run_in_machine, _exec_arguments),
)


def main(argv: list[str], commands: tuple[Command, ...] = COMMANDS) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m infra.local", description="A whole AWS with a kubeadm cluster, on this machine."
    )
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in commands:
        subparser = parsers.add_parser(command.name, help=command.help, description=command.help)
        if command.of_one_world:
            subparser.add_argument("--world", default=DEFAULT_WORLD, help=f"its name (default: {DEFAULT_WORLD})")
        command.arguments(subparser)
        subparser.set_defaults(run=command.run)
    arguments = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except TOLD as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"error: the world's AWS did not do what was asked: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; `python -m infra.local status` says what is up", file=sys.stderr)
        return 130


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
