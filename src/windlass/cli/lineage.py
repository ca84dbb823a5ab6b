"""`windlass lineage`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import click

from windlass.cli.call import call
from windlass.cli.output import json_option, show
from windlass.registry.lineage import Edge
from windlass.workspace.operations.lineage import ShowLineage
from windlass.workspace.tracing import Lineage, Node


@click.command()
@click.argument("thing")
@click.option("--models", "only_models", is_flag=True, help="Only the model versions that came from it, one a line.")
@json_option
def lineage(thing: str, only_models: bool, as_json: bool) -> None:
    """Show what THING came from and what came from it: from sources of data to logs of predictions.

    THING is MODEL@VERSION, DATASET@VERSION, a run, or the full name of anything, as --json has it (release/b3:...).

    \b
    Examples:
      windlass lineage employment@1.1.0
      windlass lineage acs@1            which models were trained on this snapshot?
      windlass lineage acs@1 --models
    """
    found: Lineage = call("lineage.show", ShowLineage(thing=thing))
    if only_models:
        show(found.models, as_json, lambda names: click.echo("\n".join(names), nl=bool(names)))
        return
    show(found, as_json, _describe)


def _describe(found: Lineage) -> None:
    nodes = {each.id: each for each in found.nodes}
    this = nodes[found.node]
    click.echo(f"{this.kind} {click.style(this.label, bold=True)}")
    if found.models:
        said = "models trained on it" if this.kind in ("snapshot", "source", "logged dataset") else "models from it"
        click.echo(f"{said}: {', '.join(found.models)}")
    for title, edges, upwards in (("came from:", found.up, True), ("what came from it:", found.down, False)):
        if edges:
            click.echo(title)
            for line in drawn(found.node, edges, nodes, upwards=upwards):
                click.echo(line)


def drawn(root: str, edges: Sequence[Edge], nodes: Mapping[str, Node], *, upwards: bool) -> Iterator[str]:
    """The edges as a tree below ``root``; what is reached again is named again, and not followed again."""
    below: dict[str, list[Edge]] = {}
    for edge in edges:
        below.setdefault(edge.child if upwards else edge.parent, []).append(edge)
    seen = {root}
    # A stack and no recursion: a chain may be longer than Python's.
    waiting = [("", edge, number == 0) for number, edge in enumerate(reversed(below.get(root, [])))]
    while waiting:
        indent, edge, last = waiting.pop()
        name = edge.parent if upwards else edge.child
        node, again = nodes[name], name in seen and name in below
        how = edge.relation if upwards else f"{edge.relation} it"
        what = f"{click.style(how, dim=True)}: {node.kind} {node.label}"
        yield f"{indent}{'└─' if last else '├─'} {what}{' (see above)' if again else ''}"
        if name not in seen:
            seen.add(name)
            inner = indent + ("   " if last else "│  ")
            waiting += [(inner, each, number == 0) for number, each in enumerate(reversed(below.get(name, [])))]
