"""An account of the test's server for a stock client before 0.41, saved as its users saved it.

`QDWELL_TEST_CHANNEL` is the channel: ibm_cloud, or ibm_quantum.
"""

import os

from qiskit_ibm_runtime import QiskitRuntimeService

CHANNEL = os.environ.get("QDWELL_TEST_CHANNEL", "ibm_cloud")


def save():
    """Save the account, so that `QiskitRuntimeService()` finds it and nothing else."""
    cloud = CHANNEL == "ibm_cloud"
    found = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("QISKIT_")}
    url = os.environ["QDWELL_TEST_URL"]
    QiskitRuntimeService.save_account(
        channel=CHANNEL,
        token=found["QISKIT_IBM_TOKEN"],
        url=f"{url}/experimental/api/v1" if cloud else f"{url}/quantum",
        instance=found["QISKIT_IBM_INSTANCE"] if cloud else None,
        overwrite=True,
    )
