"""Between our stages and the client's libraries of error mitigation.

They prepare a `QuantumProgram` object for a `BackendV2`, and read a `QuantumProgramResult`. Here
the device is shown as such a backend, the program's items are made ready for the device, and what
the device gave is shown as such a result. Times in metadata are those of the chunks.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from qiskit.providers import BackendV2, Options
from qiskit.transpiler import Target

from qdwell.errors import ProgramError
from qdwell.programs import pubs, quantum
from qdwell.programs.checks import check_instructions
from qdwell.wire.device import Device

T = TypeVar("T")


class Shown(BackendV2):  # type: ignore[misc]
    """A device, as the libraries want to see it. It runs nothing."""

    def __init__(self, target: Target, name: str) -> None:
        super().__init__(name=name)
        self._target = target

    @property
    def target(self) -> Target:
        """Instructions and qubits of the device."""
        return self._target

    @property
    def max_circuits(self) -> None:
        """No limit."""
        return None

    @classmethod
    def _default_options(cls) -> Options:
        return Options()

    def run(self, run_input: Any, **options: Any) -> Any:
        """Not meant to be called: the stages run what was prepared.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError


class Maker:
    """Makes the items of one job's library programs ready for the device, and counts them."""

    def __init__(self, reader: pubs.Reader, device: Device, chance: np.random.Generator) -> None:
        self._reader = reader
        self._device = device
        self._chance = chance
        self.executions = 0
        self.loaded: list[pubs.Loaded] = []

    def items(self, program: Any, where: str) -> tuple[quantum.Item, ...]:
        """The items of a library's program: fitted, drawn, and counted.

        Raises:
            ProgramError: 1517, 1208, or 6000.
        """
        made = []
        for place, item in enumerate(program.items):
            field = f"{where}, item {place}"
            # What a draw would take is counted before it is drawn.
            self._reader.check_executions(
                self.executions + math.prod(item.shape) * program.shots, where
            )
            made.append(self._item(item, field))
            runs = len(made[-1].rows)
            self.executions += runs * program.shots
            self._reader.check_executions(self.executions, where)
            self._reader.held(made[-1].fitted, runs, program.shots)
        return tuple(made)

    def _item(self, item: Any, field: str) -> quantum.Item:
        circuit = item.circuit
        if not self._device.simulator:
            check_instructions(circuit, self._device.target, self._device.name, field)
        fitted = self._device.fit(circuit)
        self.loaded.append(pubs.Loaded(b"", circuit, fitted, circuit.depth()))
        if hasattr(item, "samplex"):
            samplex = item.samplex.finalize()
            shape, outputs = quantum.drawn(
                samplex, item.samplex_arguments, item.shape, self._chance, field
            )
            rows = outputs.pop(quantum.ARGUMENTS, np.empty((*shape, 0)))
        else:
            shape, rows, outputs = tuple(item.shape), item.circuit_arguments, {}
        return quantum.Item(
            fitted=fitted,
            rows=np.asarray(rows, np.float64).reshape(math.prod(shape), circuit.num_parameters),
            shape=shape,
            registers=quantum.registers(circuit),
            outputs=outputs,
        )


def result(items: Sequence[quantum.Item], ran: quantum.Ran, passthrough: Any) -> Any:
    """The `QuantumProgramResult` of a library's program."""
    from qiskit_ibm_runtime.results import QuantumProgramItemResult, QuantumProgramResult

    data = [
        QuantumProgramItemResult(result=quantum.arrays(item, bits, ran.shots))
        for item, bits in zip(items, ran.bits, strict=True)
    ]
    return QuantumProgramResult(data=data, metadata=None, passthrough_data=passthrough)


def refused(error: Exception, where: str) -> ProgramError:
    """What a library will not prepare, as the job's own failure."""
    said = str(error.args[0]) if error.args else type(error).__name__
    return ProgramError(pubs.BAD_INPUT, f"{where}: {said}")


def tried(do: Callable[..., T], where: str, *given: Any, **named: Any) -> T:
    """What a library makes; what it will not make is the job's own failure, with its words.

    Raises:
        ProgramError: 1208.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for the user of the library, who is not here
            return do(*given, **named)
    except (ProgramError, MemoryError):
        raise
    except Exception as error:  # The libraries raise plain classes and many of their own.
        raise refused(error, where) from error
