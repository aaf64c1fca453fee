"""The commands for a cluster's nodes: options in, calls out, no logic."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from vsumdata.pipeline.commands.train import err

app = typer.Typer(help="What the nodes of a Ray cluster need.", no_args_is_help=True)


@app.callback()
def start() -> None:
    # With a callback a single command keeps its name.
    pass


@app.command()
def env(
    wheel: Annotated[
        str | None, typer.Option(metavar="PATH", help="The wheel, or its URL (default: the newest in dist/)")
    ] = None,
    code_only: Annotated[
        bool, typer.Option("--code-only", help="Leave the packages out: the nodes' image has them")
    ] = False,
) -> None:
    """Print the runtime_env, as JSON, for `ray job submit --runtime-env-json` or a RayJob's runtimeEnvYAML."""
    from vsumdata.pipeline.reports import environment

    print(json.dumps(environment.runtime_env(wheel, code_only=code_only), indent=1))
    err.print(environment.needed_on_nodes(), highlight=False)
