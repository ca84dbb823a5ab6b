"""The root command. Its subcommands are imported when they are called, so that `--help` costs nothing."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from windlass import __version__

# command -> (module, what `windlass --help` says of it), in the order of a model's life.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Watch a model go from data to production and back, on real data."),
    "init": ("project", "Make a project here: windlass.toml, pipeline.py, Git."),
    "data": ("data", "Version data: add, diff, checkout, verify, gc, push, pull."),
    "run": ("pipeline", "Run the pipeline; what did not change is not run again."),
    "explain": ("pipeline", "Say why a step would run now, or would not."),
    "runs": ("pipeline", "List or search runs, show one with its steps and causes, delete, restore."),
    "schedule": ("schedule", "Run the pipeline by the clock: ls, pause, resume, run."),
    "register": ("models", "Register a run's model, or files that were logged, as the next version."),
    "models": ("models", "List and search model versions, show one, tag, delete, restore it."),
    "stage": ("registry", "Move a version to staging, production, archived or none."),
    "alias": ("registry", "Let a name stand for a version: set, ls, rm."),
    "predict": ("predict", "Score a file of rows with a version: Parquet, CSV or JSON lines."),
    "compare": ("compare", "Show versions or runs side by side: only what differs."),
    "lineage": ("lineage", "Show what a thing came from and what came from it."),
    "gate": ("gates", "Check a version against the policy and store the report."),
    "approve": ("gates", "Approve a version's gate report."),
    "release": ("delivery", "Roll a version out to an endpoint, on evidence."),
    "rollout": ("delivery", "Show, explain, pause, resume or abort a rollout."),
    "rollback": ("delivery", "Put an endpoint back to its last good release."),
    "history": ("delivery", "Say what served an endpoint, when, and who put it there."),
    "predictions": ("predictions", "Ask the prediction log: a summary, rows, or SQL."),
    "labels": ("monitoring", "Add labels that arrived for answered predictions."),
    "monitor": ("monitoring", "Show live drift, performance, alerts and retraining."),
    "status": ("status", "Show everything live at a glance."),
    "webhooks": ("webhooks", "Tell other systems of transitions: list, deliveries, test, redeliver."),
    "token": ("tokens", "Say who may ask the server: create, ls, revoke."),
    "key": ("access", "Say who may call an endpoint: create, ls, revoke."),
    "rule": ("access", "Send testers, or a share of users, to a release: add, ls, rm."),
    "hold": ("retention", "Legal holds: what is held is never purged."),
    "purge": ("retention", "Remove for good what was deleted long enough ago, and free its space."),
    "import": ("exchange", "Copy tracking in from an MLflow server or folder."),
    "export": ("exchange", "Copy tracking out to an MLflow server."),
    "env": ("env", "Environments of runs: ls, show, diff, vendor."),
    "reproduce": ("audit", "Rebuild a version from its records and compare the bytes."),
    "verify": ("audit", "Check the ledger, every digest and the lineage."),
    "up": ("up", "Start gateway, workers and control process, supervised."),
    "completion": ("completion", "Print the shell's completion script."),
}

# Where a command's name is no name for a function.
ATTRIBUTES = {"import": "import_"}


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"windlass.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, ATTRIBUTES.get(cmd_name, cmd_name))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--project",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    envvar="WINDLASS_PROJECT",
    help="The project's folder, or one inside it.  [default: here]",
)
@click.version_option(__version__, prog_name="windlass")
@click.pass_context
def root(ctx: click.Context, project: Path) -> None:
    """Take machine-learning models from training to production and back.

    \b
    Examples:
      windlass demo                 see the whole loop on real data
      windlass init && windlass up  start a project of your own
      windlass status               what is live, at a glance

    With WINDLASS_URL set, commands go to that server instead of the folder, with the token of WINDLASS_TOKEN.
    """
    ctx.obj = project
