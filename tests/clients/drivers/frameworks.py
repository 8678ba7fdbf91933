"""Other libraries with our primitives: the programs of docs/how-to/frameworks.md, as printed.

The progress line in a notebook is here too, because here is a Jupyter kernel to show it in.
"""

import os
import re
import runpy
import tempfile
from pathlib import Path

import checking

ROOT = Path(__file__).parents[3]
_TEXT = (ROOT / "docs" / "how-to" / "frameworks.md").read_text(encoding="utf-8")
_FIRST, *_PROGRAMS = re.findall(r"```python\n(.*?)```", _TEXT, re.DOTALL)


def program(having):
    """Run the program of the page that has this word in it; its names."""
    (text,) = (it for it in _PROGRAMS if having in it)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "program.py"
        path.write_text(_FIRST + text, encoding="utf-8")
        return runpy.run_path(str(path))


def check_qiskit_algorithms_vqe():
    names = program("efficient_su2")
    assert abs(names["energy"] + 1.857) < 0.05, names["energy"]
    assert names["session"].status() == "Closed"
    assert names["session"].details()["cache"]["hits"] > 10  # S37


def check_qiskit_algorithms_qaoa():
    names = program("QAOA(")
    assert names["spins"] == "0101", names["spins"]  # neighbours differ, and spin 0 is down


def check_qiskit_algorithms_adapt_vqe():
    names = program("AdaptVQE(")
    assert abs(names["energy"] + 1.857) < 0.05, names["energy"]


def check_pennylane():
    import numpy as np

    names = program("import pennylane")
    # <Z Z> after RY(a), CNOT, RX(b) is cos(b), and <X 0> is 0.
    assert abs(names["value"] - np.cos(0.3)) < 0.05, names["value"]
    assert np.allclose(names["gradient"], [0, -np.sin(0.3)], atol=0.05), names["gradient"]


def check_mitiq():
    names = program("from mitiq")
    noisy, mitigated = names["noisy"], names["mitigated"]
    assert abs(mitigated - 1) < 0.5 * abs(noisy - 1), (noisy, mitigated)


_NOTEBOOK = """
from qdwell import QiskitRuntimeService, SamplerV2
from qiskit import QuantumCircuit
circuit = QuantumCircuit(1)
circuit.measure_all()
job = SamplerV2(mode=QiskitRuntimeService().backend("ideal_machine")).run([circuit], shots=10)
counts = job.result(progress=True)[0].data.meas.get_counts()
job
"""


def check_progress_in_a_notebook():
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(env=dict(os.environ))
    heard = []
    try:
        answer = client.execute_interactive(_NOTEBOOK, output_hook=heard.append, timeout=120)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert answer["content"]["status"] == "ok", answer["content"]
    updates = [it["content"] for it in heard if it["msg_type"] == "update_display_data"]
    assert updates, [it["msg_type"] for it in heard]
    assert len({it["transient"]["display_id"] for it in updates}) == 1  # one line, written over
    last = updates[-1]["data"]["text/html"]
    assert last.startswith("<code>"), last
    assert " done (" in last, last
    (shown,) = (it["content"]["data"] for it in heard if it["msg_type"] == "execute_result")
    assert "<table><caption>qdwell job</caption>" in shown["text/html"]
    assert not [it for it in heard if it["msg_type"] == "stream"]  # and nothing beside it


if __name__ == "__main__":
    checking.main()
