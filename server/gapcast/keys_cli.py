"""The command `gapcast keygen`: make a signing key, or show what boards need of one."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gapcast.errors import OperatorError
from gapcast.image.keys import board_key, board_key_text, load_public, make_key, public_path


@click.command()
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The new key's file: KEY.pem."
)
@click.option(
    "--show",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Show an existing key (private or public) instead of making one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def keygen(output: Path | None, show: Path | None, as_json: bool) -> None:
    """Make a key to sign images with, or show the line that boards need to trust one.

    KEY.pem (RSA-3072) signs: keep it, and a copy, away from the server and readable by you only. KEY.pub.pem
    only verifies. Existing files are never overwritten. A key of `espsecure generate-signing-key --version 2`
    will do as well.
    """
    facts: dict[str, str] = {}
    if output is not None and show is None:
        public = make_key(output).public_key()
        facts = {"private": str(output), "public": str(public_path(output))}
    elif show is not None and output is None:
        public = load_public(show)
    else:
        hint = "-o KEY.pem makes a key, --show KEY.pem shows an existing one"
        raise OperatorError("either make a key or show one", hint)
    facts |= {"key_id": board_key(public).key_id.hex(), "board_key": board_key_text(public)}
    click.echo(json.dumps(facts) if as_json else _text(facts))


def _text(facts: dict[str, str]) -> str:
    lines = []
    if "private" in facts:
        lines.append(f"{facts['private']}: signs images; keep it secret, and keep a copy")
        lines.append(f"{facts['public']}: verifies them")
    lines.append(f"key id {facts['key_id']}")
    lines.append("Boards trust it by this line in gapcast.json (further keys: more strings in the list):")
    lines.append(f'"keys": ["{facts["board_key"]}"]')
    return "\n".join(lines)
