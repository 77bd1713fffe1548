"""Commands that decide about one batch in doubt by hand: batch adopt, batch release. Each says first what it risks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bakehouse import ConfigurationError
from bakehouse_worker.cli.options import DataDir, Yes, ask, console, store

if TYPE_CHECKING:
    from bakehouse_worker.doubt import Doubt
    from bakehouse_worker.runtime import Runtime

BatchId = Annotated[int, typer.Argument(help="The batch's number, as `bakehouse status` has it.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    group = typer.Typer(help="Decide by hand about a batch in doubt: adopt, release.", no_args_is_help=True)
    group.command()(adopt)
    group.command()(release)
    app.add_typer(group, name="batch")


def adopt(
    batch: BatchId,
    remote_id: Annotated[str, typer.Argument(help="The API's id, such as msgbatch_01...")],
    data_dir: DataDir = None,
    yes: Yes = False,
) -> None:
    """Say which of the API's batches a batch in doubt is. A wrong one is given back once its results are read."""
    from bakehouse_worker import rescue
    from bakehouse_worker.errors import GatewayError
    from bakehouse_worker.store import doubts, submissions

    runtime = store(data_dir)
    doubt = _in_doubt(runtime, batch)
    try:
        remote = runtime.gateway.retrieve(remote_id)
        nonce = rescue.first_nonce(runtime, remote_id) if remote.status == "ended" else None
    except GatewayError as error:
        raise ConfigurationError(f"{remote_id} cannot be adopted: {error}") from None
    if remote.requests != doubt.requests:
        raise ConfigurationError(
            f"{remote_id} has {remote.requests:,} requests, batch {batch} has {doubt.requests:,}: not the same"
        )
    if remote.status == "ended" and nonce != doubt.nonce:
        doubts.refute_candidate(runtime.database, doubt.submission_id, remote_id)
        raise ConfigurationError(f"{remote_id} is not batch {batch}: its results carry other ids")
    risk = (
        "it has ended, and its results carry this batch's ids"
        if nonce
        else "if it is another's, its results will show it"
    )
    ask(f"batch {batch} is taken for {remote_id}: {risk}. Nothing is sent.", yes)
    if not submissions.accepted(
        runtime.database, doubt.submission_id, remote, next_poll_at=0.0, confirmed=nonce is not None
    ):
        raise ConfigurationError(
            f"batch {batch} is no longer in doubt, or another has {remote_id}; see `bakehouse status`"
        )
    console().print(f"batch {batch} is {remote_id} now", highlight=False)


def release(batch: BatchId, data_dir: DataDir = None, yes: Yes = False) -> None:
    """Say that the API does not have a batch in doubt: its requests are sent again."""
    from bakehouse_worker.store import doubts

    runtime = store(data_dir)
    doubt = _in_doubt(runtime, batch)
    risk = f"if the API has it all the same, its {doubt.requests:,} requests are billed twice"
    ask(
        f"batch {batch} is sent again: {risk}. Look for it at the API first, among the batches of {doubt.requests:,} requests.",
        yes,
    )
    if not doubts.abandon(runtime.database, doubt.submission_id, "released by hand"):
        raise ConfigurationError(f"batch {batch} is no longer in doubt; see `bakehouse status`")
    console().print(
        f"batch {batch} is sent again; it is looked for in the API's list for two days more", highlight=False
    )


def _in_doubt(runtime: Runtime, batch: int) -> Doubt:
    from bakehouse_worker.store import doubts

    found = next((doubt for doubt in doubts.in_doubt(runtime.database) if doubt.batch_id == batch), None)
    if found is None:
        raise ConfigurationError(f"batch {batch} is not in doubt; `bakehouse status` names those that are")
    return found
