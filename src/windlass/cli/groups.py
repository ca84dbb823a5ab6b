"""Groups with a command of their own: `windlass models employment@1.0.0` beside `windlass models tag …`."""

from __future__ import annotations

import click


class DefaultGroup(click.Group):
    """A group that runs its command ``default`` when the first word names no other of its commands."""

    default = "show"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not (args and (args[0] in self.commands or args[0] in ctx.help_option_names)):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[OPTIONS] [COMMAND]", *self._own(ctx).collect_usage_pieces(ctx)[1:]]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self._own(ctx).format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in super().list_commands(ctx) if not self.commands[name].hidden]

    def _own(self, ctx: click.Context) -> click.Command:
        found = self.get_command(ctx, self.default)
        assert found is not None, f"the group has no command '{self.default}'"
        return found
