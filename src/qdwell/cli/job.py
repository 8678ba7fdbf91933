"""`qdwell job ...`: one job, its result, why it waits, its log."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from qdwell.cli.asking import AccountName, AsJson, Door, local, print_facts, print_json, seconds
from qdwell.cli.results import print_result, result_of

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job.")]

job = typer.Typer(no_args_is_help=True, help="One job.")


@job.command("show")
def show(job_id: JobId, as_json: AsJson = False, account: AccountName = None) -> None:
    """Show a job: state, times, usage."""
    from qdwell.client.transport import path_of

    door = Door(account)
    it = door.get(path_of("jobs", job_id, "outcome"), result=False)["job"]
    metrics = door.get(path_of("jobs", job_id, "metrics"))
    if as_json:
        print_json({**it, "metrics": metrics})
        return
    state, stamps = it["state"], metrics["timestamps"]
    print_facts(
        [
            ("id", it["id"]),
            ("status", it["status"]),
            ("reason", state.get("reason")),
            ("what to do", state.get("reason_solution")),
            ("program", it["program"]["id"]),
            ("backend", it["backend"]),
            ("session", it.get("session_id")),
            ("tags", ", ".join(it["tags"])),
            ("created", local(stamps["created"])),
            ("started", local(stamps["running"])),
            ("ended", local(stamps["finished"])),
            ("usage", f"{seconds(it['usage']['quantum_seconds'])} s"),
            ("circuits", metrics.get("num_circuits")),
            ("executions", metrics.get("executions")),
            ("position", metrics.get("position_in_queue")),
            ("why it waits", metrics.get("queue_reason")),
        ]
    )


@job.command("result")
def result(
    job_id: JobId,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Wait at most so many seconds; default: as needed.")
    ] = None,
    as_json: AsJson = False,
    account: AccountName = None,
) -> None:
    """Wait for a job, and print its counts or expectation values. Status 6 if it failed."""
    with Door(account).service() as service:
        found = result_of(service.job(job_id).result(timeout=timeout))
    if as_json:
        print_json(found)
    else:
        print_result(found)


@job.command("cancel")
def cancel(
    job_ids: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids of jobs.")],
    account: AccountName = None,
) -> None:
    """Cancel jobs that have not ended."""
    from qdwell.client.transport import path_of

    door = Door(account)
    for job_id in job_ids:
        door.change("POST", path_of("jobs", job_id, "cancel"))
        typer.echo(f"{job_id} is cancelled.", err=True)


@job.command("logs")
def logs(job_id: JobId, as_json: AsJson = False, account: AccountName = None) -> None:
    """Print the log of a job that has ended."""
    from qdwell.client.errors import RequestsApiError
    from qdwell.client.transport import path_of

    door = Door(account)
    text = None
    try:
        text = door.text(path_of("jobs", job_id, "logs"))
    except RequestsApiError as error:
        if error.status_code != 404:
            raise
        status = door.get(path_of("jobs", job_id, "outcome"), result=False)["job"]["status"]
        typer.echo(f"There is no log; the job is {status}.", err=True)
    if as_json:
        print_json({"job": job_id, "log": text})
    elif text is not None:
        typer.echo(text, nl=False)


@job.command("why")
def why(job_id: JobId, as_json: AsJson = False, account: AccountName = None) -> None:
    """Say why a job waits, its place in the queue, and when it is expected to start."""
    from qdwell.client.transport import path_of

    door = Door(account)
    metrics = door.get(path_of("jobs", job_id, "metrics"))
    told: dict[str, Any] = {
        name: value
        for name, value in metrics.items()
        if name.startswith(("queue_", "position_in_", "estimated_"))
    }
    if as_json:
        print_json(told)
    elif told.get("position_in_queue") is None:
        state = door.get(path_of("jobs", job_id, "outcome"), result=False)["job"]["status"]
        typer.echo(f"It does not wait: it is {state}.")
    else:
        typer.echo(f"{_sentence(told.get('queue_reason'))}")
        print_facts(
            [
                ("position", told["position_in_queue"]),
                ("of your own", told.get("position_in_provider")),
                ("expected to start", local(told.get("estimated_start_time"))),
                ("earliest", _maybe(told.get("estimated_start_earliest"))),
                ("latest", _maybe(told.get("estimated_start_latest"))),
            ]
        )


def _maybe(stamp: str | None) -> str | None:
    return None if stamp is None else local(stamp)


def _sentence(reason: str | None) -> str:
    text = reason or "it is next"
    return text[0].upper() + text[1:] + "."
