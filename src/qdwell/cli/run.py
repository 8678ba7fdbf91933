"""`qdwell run FILE`: a circuit from a file, run on a backend; or a program with the server at hand.

Circuits are OpenQASM 2 or 3 (`.qasm`, `.qasm2`, `.qasm3`) or QPY (`.qpy`, all that are in the
file). They are compiled here for the backend. A Python file is run as a program of its own, in an
environment in which our client and the stock one find this server.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from qdwell.cli.asking import AccountName, AsJson, Door, print_json
from qdwell.cli.credentials import settings_for
from qdwell.cli.results import print_result, result_of
from qdwell.errors import ConfigError

SUFFIXES = (".qasm", ".qasm2", ".qasm3", ".qpy", ".py")


def run(
    file: Annotated[Path, typer.Argument(help="circuit.qasm, circuit.qpy, or program.py.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Arguments and options of a Python program.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option("--backend", "-b", help="Default: the least busy machine.")
    ] = None,
    shots: Annotated[int | None, typer.Option(min=1, help="Shots of each circuit.")] = None,
    observable: Annotated[
        list[str] | None,
        typer.Option("--observable", "-o", help="Estimate this Pauli label; may be repeated."),
    ] = None,
    session: Annotated[str | None, typer.Option(metavar="ID", help="Run in this session.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Tag the job; may be repeated.")] = None,
    level: Annotated[
        int, typer.Option("--optimization", min=0, max=3, help="How hard to compile.")
    ] = 1,
    wait: Annotated[bool, typer.Option(help="Wait for the result, and print it.")] = True,
    as_json: AsJson = False,
    account: AccountName = None,
) -> None:
    """Run circuits of a file and print what they gave. Status 6 if the job failed."""
    if file.suffix not in SUFFIXES:
        raise ConfigError(str(file), f"must be one of {', '.join(SUFFIXES)}")
    if not file.is_file():
        raise ConfigError(str(file), "there is no such file")
    if not file.stat().st_size:
        raise ConfigError(str(file), "is empty")
    door = Door(account)
    if arguments and file.suffix != ".py":
        raise ConfigError(arguments[0], "means nothing here: only a Python program has arguments")
    if file.suffix == ".py":
        raise typer.Exit(_program(door, file, arguments or []))
    circuits = load(file)
    with door.service() as service:
        chosen = service.backend(backend) if backend else service.least_busy()
        mode: Any = service.session(session) if session else chosen
        job = submit(mode, chosen, circuits, shots, observable or [], tag or [], level)
        if not as_json:
            typer.echo(f"job {job.job_id()} on {chosen.name}", err=True)
        if not wait:
            if as_json:
                print_json({"job": job.job_id()})
            else:
                typer.echo(job.job_id())
            return
        found = {"job": job.job_id(), "backend": chosen.name, **result_of(job.result())}
    if as_json:
        print_json(found)
    else:
        print_result(found)


def load(file: Path) -> list[Any]:
    """The circuits of a file.

    Raises:
        ConfigError: it cannot be read as what its name says.
    """
    said = io.StringIO()  # the parser of OpenQASM 3 prints what is wrong, and raises without it
    try:
        with contextlib.redirect_stderr(said):
            circuits = _circuits(file)
    except Exception as error:  # each parser and loader raises classes of its own
        why = " ".join(filter(None, (said.getvalue().strip(), str(error))))
        raise ConfigError(str(file), f"cannot be read: {why}") from error
    if not circuits:
        raise ConfigError(str(file), "has no circuits")
    for circuit in circuits:
        if circuit.parameters:
            names = ", ".join(it.name for it in circuit.parameters)
            raise ConfigError(str(file), f"has parameters without values: {names}; bind them first")
    return circuits


def _circuits(file: Path) -> list[Any]:
    from qiskit import qasm2, qasm3, qpy

    if file.suffix == ".qpy":
        with file.open("rb") as stream:
            return list(qpy.load(stream))
    text = file.read_text(encoding="utf-8")
    if re.search(r"^\s*OPENQASM\s+2", text, re.MULTILINE):
        return [qasm2.loads(text, custom_instructions=qasm2.LEGACY_CUSTOM_INSTRUCTIONS)]
    return [qasm3.loads(text)]


def submit(
    mode: Any,
    backend: Any,
    circuits: list[Any],
    shots: int | None,
    observables: list[str],
    tags: list[str],
    level: int,
) -> Any:
    """Compile for the backend, and submit to the sampler, or to the estimator with observables."""
    from qiskit import generate_preset_pass_manager

    from qdwell import EstimatorV2, SamplerV2

    paulis = [_pauli(label, circuits) for label in observables]
    compiled = generate_preset_pass_manager(level, backend=backend).run(circuits)
    primitive: Any
    pubs: list[Any]
    if observables:
        primitive = EstimatorV2(mode=mode)
        if shots is not None:
            primitive.options.default_shots = shots
        pubs = [(it, [pauli.apply_layout(it.layout) for pauli in paulis]) for it in compiled]
    else:
        primitive = SamplerV2(mode=mode)
        pubs = [(it, None, shots) for it in compiled]
    primitive.options.environment.job_tags = tags
    return primitive.run(pubs)


def _pauli(label: str, circuits: list[Any]) -> Any:
    """The operator of a label, which has a letter for each qubit of each circuit."""
    from qiskit.quantum_info import SparsePauliOp

    if not label or set(label) - set("IXYZ"):
        raise ConfigError("--observable", f"{label!r} is no Pauli label: letters I, X, Y, Z")
    for circuit in circuits:
        if len(label) != circuit.num_qubits:
            why = f"{label!r} has {len(label)} letters, and a circuit {circuit.num_qubits} qubits"
            raise ConfigError("--observable", why)
    return SparsePauliOp(label)


def _program(door: Door, file: Path, arguments: list[str]) -> int:
    """Run a Python program where both clients find the server; return its exit status."""
    it = door.account
    crn = it.instance or door.get("/instances")["instances"][0]["crn"]
    settings = settings_for(it.url, token=it.token, instance_crn=crn)
    own = {"QDWELL_URL": it.url, "QDWELL_TOKEN": it.token, "QDWELL_INSTANCE": crn}
    environment = {**os.environ, **settings, **own}
    command = [sys.executable, str(file), *arguments]
    return subprocess.run(command, env=environment, check=False).returncode
