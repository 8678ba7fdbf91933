"""Every decoder under changed bytes: it takes them or refuses them as is meant, and does no more.

Short here, from the corpus on; the long campaign is led by coverage (`fuzz.py`, `make test-long`).
What a campaign found is in the corpus, and so is tried on every run.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from security import decoders

EXAMPLES = int(os.environ.get("QDWELL_FUZZ_EXAMPLES", "150"))
SLOW = {"noise", "qpy", "qasm3", "program"}
CAMPAIGN_SECONDS = int(os.environ.get("QDWELL_FUZZ_SECONDS", "60"))

SEEDS = decoders.seeds()


def kept(decoder: str) -> list[bytes]:
    """The corpus of a decoder: what is well-formed, and what was found."""
    return SEEDS[decoder] + [it.read_bytes() for it in files(decoder)]


def files(decoder: str) -> list[Path]:
    folder = decoders.CORPUS / decoder
    return sorted(folder.iterdir()) if folder.is_dir() else []


@st.composite
def changed(draw: st.DrawFn, decoder: str) -> bytes:
    """A well-formed input after a few changes, or a mixture of two."""
    data = bytearray(draw(st.sampled_from(kept(decoder))))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        upto = min(len(data), at + draw(st.integers(0, 16)))
        match draw(st.sampled_from(["edge", "bytes", "cut", "again", "other"])):
            case "edge":
                data[at:upto] = draw(st.sampled_from(decoders.EDGES))
            case "bytes":
                data[at:upto] = draw(st.binary(max_size=16))
            case "cut":
                del data[at:upto]
            case "again":
                data[at:at] = data[at:upto] * draw(st.integers(1, 50))
            case _:
                data[at:] = draw(st.sampled_from(kept(decoder)))[at:]
    return bytes(data)


def test_every_target_has_seeds() -> None:
    """And takes at least one, so that the campaigns begin inside of it."""
    assert set(SEEDS) == set(decoders.TARGETS)
    for decoder, inputs in SEEDS.items():
        told = [decoders.run(decoder, data) for data in inputs]
        assert decoders.TAKEN in told, decoder


@pytest.mark.parametrize("decoder", decoders.TARGETS)
def test_what_was_found_once_is_refused_now(decoder: str) -> None:
    """The whole corpus."""
    for data in kept(decoder):
        assert decoders.run(decoder, data) in (decoders.TAKEN, decoders.REFUSED)


@pytest.mark.parametrize("decoder", decoders.TARGETS)
def test_changed_bytes_do_no_harm(decoder: str) -> None:
    """A short run from the corpus on."""
    count = EXAMPLES // 5 if decoder in SLOW else EXAMPLES

    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(changed(decoder), st.binary(max_size=400)))
    def tried(data: bytes) -> None:
        assert decoders.run(decoder, data) in (decoders.TAKEN, decoders.REFUSED)

    tried()


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("decoder", decoders.TARGETS)
def test_a_campaign_led_by_coverage_finds_nothing(decoder: str, tmp_path: Path) -> None:
    """QDWELL_FUZZ_SECONDS for each decoder."""
    pytest.importorskip("atheris", reason="make test-long installs it")
    from security.fuzz import campaign

    executions, _, found = campaign(decoder, CAMPAIGN_SECONDS, tmp_path)
    assert found == ""
    assert executions > 0
