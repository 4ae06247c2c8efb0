"""The command `gapcast console`: MicroPython's prompt on a board, by mpremote."""

from __future__ import annotations

import errno
import re
import subprocess
import sys

import click
import serial

from gapcast.errors import OperatorError
from gapcast_tools.usb.bar import port_command
from gapcast_tools.usb.esptool_text import open_fault
from gapcast_tools.usb.fault import PortFault

COMMAND = (sys.executable, "-P", "-m", "mpremote")
_ERRNO = re.compile(r"\[Errno (\d+)\]|\((\d+), ")


@click.command()
@click.argument("port", metavar="PORT")
@click.pass_context
def console(ctx: click.Context, port: str) -> None:
    """MicroPython's prompt on the board on PORT, in this terminal.

    Ctrl-] or Ctrl-X leaves. Ctrl-C interrupts the board's program, Ctrl-D starts it again.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise OperatorError("a console needs a terminal", f"scripts use `mpremote connect {port} exec CODE`")
    with port_command(ctx, as_json=False):
        check_free(port)
        click.echo(f"{port}: Ctrl-] leaves; Ctrl-C interrupts the program, Ctrl-D starts it again", err=True)
        code = hand_over([*COMMAND, "connect", port, "repl"])
    ctx.exit(1 if code else 0)


def check_free(port: str) -> None:
    """Open the port as mpremote is going to, and close it again.

    Raises:
        PortFault: `busy` with who has it, `gone`, `denied`, or it is no serial port.
    """
    try:
        serial.serial_for_url(port, exclusive=True).close()
    except (serial.SerialException, OSError, ValueError) as error:
        match = _ERRNO.search(str(error))
        number = int(match[1] or match[2]) if match else getattr(error, "errno", None) or errno.EIO
        known = open_fault(port, number)
        raise known or PortFault("failed", f"{port} cannot be opened: {error}") from error


def hand_over(command: list[str]) -> int:
    """Run a program on our terminal; its exit code. It gets the keys, Ctrl-C too."""
    with subprocess.Popen(command) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # for the program, before or after it has the terminal in raw mode
                continue
