"""`windlass completion`: the script that completes commands and options in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the shell's completion script.

    \b
    Examples:
      windlass completion bash >> ~/.bashrc
      windlass completion zsh > "${fpath[1]}/_windlass"
      windlass completion fish > ~/.config/fish/completions/windlass.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(kind(ctx.find_root().command, {}, "windlass", "_WINDLASS_COMPLETE").source())
