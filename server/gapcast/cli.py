"""The command `gapcast`: a table of subcommands, each imported only when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import click

from gapcast import __version__
from gapcast.errors import OperatorError

# name -> (module:attribute, short help)
COMMANDS = {
    "serve": ("gapcast.serve_cli:serve", "Serve files and images by TFTP: multicast, with repair."),
    "image": ("gapcast.image.cli:image", "Build, sign, verify and inspect firmware images."),
    "keygen": ("gapcast.keys_cli:keygen", "Make a key to sign images with."),
    "fleet": ("gapcast.fleet.cli:fleet", "Boards that may report, and what they reported."),
    "ports": ("gapcast_tools.usb.ports:ports", "List the boards that are plugged in by USB."),
    "provision": ("gapcast_tools.provision.cli:provision", "Make members of the fleet out of boards on USB."),
    "unprovision": ("gapcast_tools.usb.unprovision_cli:unprovision", "Take Gapcast off boards on USB."),
    "console": ("gapcast_tools.usb.console:console", "MicroPython's prompt on a board."),
    "backup": ("gapcast_tools.usb.backup:backup", "Read a board's whole flash into a file."),
    "restore": ("gapcast_tools.usb.restore:restore", "Write a backup into a board's flash."),
    "sim": ("gapcast_sim.sim_cli:sim", "Simulate a bench of boards on this machine and update it."),
    "board": ("gapcast_sim.cli:board", "Run one simulated board against a server."),
    "chip": ("gapcast_sim.chip.cli:chip", "Simulate a bare board on a serial port."),
    "get": ("gapcast_tools.get:get", "Fetch one file by plain TFTP, with a client that is not ours."),
    "doctor": ("gapcast_tools.doctor:doctor", "Check this machine, its network and a server."),
}
EXIT_OPERATOR = 2
EXIT_INTERRUPTED = 130  # what a shell reports for SIGINT


class LazyGroup(click.Group):
    """Subcommands from COMMANDS: listing them imports nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module_name, attribute = COMMANDS[cmd_name][0].split(":")
        try:
            command = getattr(importlib.import_module(module_name), attribute)
        except ModuleNotFoundError as error:
            message = f"`gapcast {cmd_name}` needs the module {error.name}, which is missing"
            hint = "install Gapcast again: `make setup`, or `pip install --force-reinstall gapcast`"
            raise OperatorError(message, hint) from error
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]} is not a click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gapcast")
def cli() -> None:
    """Update a whole bench of boards in the time of one.

    The image goes out once, by multicast; every board writes what it hears, keeps a list of its gaps,
    and asks for exactly those.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit code. Errors of the operator become one line on stderr."""
    try:
        result = cli.main(arguments, prog_name="gapcast", standalone_mode=False)
    except OperatorError as error:
        click.echo(f"gapcast: {error}", err=True)
        return EXIT_OPERATOR
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("gapcast: interrupted", err=True)
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else 0  # ctx.exit(n) arrives here as n
