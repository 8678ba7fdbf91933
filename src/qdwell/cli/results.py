"""Results as plain values, and for people: counts as bars, expectation values with their errors."""

from __future__ import annotations

from typing import Any

import typer

SHOWN = 16  # outcomes of one register that people are shown
BAR = 30


def result_of(result: Any) -> dict[str, Any]:
    """What a primitive gave, as JSON can say it; of either dialect."""
    if hasattr(result, "quasi_dists"):
        return {
            "pubs": [{"quasi": {str(k): v for k, v in it.items()}} for it in result.quasi_dists]
        }
    if hasattr(result, "values"):
        return {"pubs": [{"evs": float(it)} for it in result.values]}
    return {"pubs": [_pub(it.data) for it in result]}


def _pub(data: Any) -> dict[str, Any]:
    counts, told = {}, {}
    for name in data:
        value = getattr(data, name)
        if hasattr(value, "get_counts"):
            counts[name] = dict(value.get_counts())
        elif hasattr(value, "tolist"):
            told[name] = value.tolist()
    return {**({"counts": counts} if counts else {}), **told}


def print_result(found: dict[str, Any]) -> None:
    """Print it for people."""
    for number, pub in enumerate(found["pubs"]):
        if number:
            typer.echo()
        for register, counts in pub.get("counts", {}).items():
            _bars(f"pub {number}, {register}", counts)
        if "quasi" in pub:
            _bars(f"circuit {number}", pub["quasi"])
        if "evs" in pub:
            errors = pub.get("stds")
            shown = f"{pub['evs']}" + (f"  ± {errors}" if errors is not None else "")
            typer.echo(f"pub {number}: {shown}")


def _bars(title: str, counts: dict[str, float]) -> None:
    ordered = sorted(counts.items(), key=lambda it: -it[1])
    total, most = sum(counts.values()), max(counts.values(), default=1)
    typer.echo(f"{title}: {total:g} in {len(counts)} outcomes")
    for outcome, number in ordered[:SHOWN]:
        bar = "█" * max(0, round(BAR * number / most))
        typer.echo(f"  {outcome}  {number:>8.6g}  {bar}")
    if len(ordered) > SHOWN:
        typer.echo(f"  and {len(ordered) - SHOWN} more")
