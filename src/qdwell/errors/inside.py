"""The base of all errors, and those that stay inside our own processes."""

from __future__ import annotations

from typing import Any


def advised(text: str, solution: str | None) -> str:
    """What happened and what to do next, as sentences of one line."""
    if not text or not solution:
        return text or solution or ""
    return f"{text}{'' if text.endswith(('.', '!', '?', ':')) else '.'} {solution}"


class QdwellError(Exception):
    """Anything that qdwell raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive the trip between processes whatever arguments the constructor takes."""
        return (_revived, (type(self), self.args, dict(self.__dict__)))


def _revived(cls: type[QdwellError], args: tuple[Any, ...], state: dict[str, Any]) -> QdwellError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class ConfigError(QdwellError):
    """A setting is unknown, of the wrong type, or out of range: names its path, and why."""

    def __init__(self, key: str, why: str) -> None:
        self.key = key
        self.why = why
        super().__init__(f"setting {key}: {why}")


class IllegalMove(QdwellError):
    """A job or a group was asked for a move that its table does not have; nothing changed."""


class BrokenInvariant(QdwellError):
    """A rule of the model (P1-P18) does not hold: a bug of ours, with the story that led to it."""


class ProgramError(QdwellError):
    """The job fails because of what it contains; these become the job's own (E25-E28)."""

    def __init__(self, code: int, reason: str, solution: str | None = None) -> None:
        self.code = code
        self.reason = reason
        self.solution = solution
        super().__init__(reason)


class WorkerLost(QdwellError):
    """A worker process ended before it answered; the work goes back to its waiting state (J5)."""


# ---- accounts ------------------------------------------------------------------------------------


class AccountError(QdwellError):
    """An account command cannot be carried out."""


class AccountExists(AccountError):
    """An account of this name is there already: choose another name, or make a token for it."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"account {name!r} exists already; "
            f"`qdwell token create {name}` makes another token for it"
        )


class UnknownAccount(AccountError):
    """There is no account of this name: create it first."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no account {name!r}; `qdwell account create {name}` makes it")


class UnknownPlan(AccountError):
    """There is no plan of this name: names the ones there are."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"there is no plan {name!r}; there are: {', '.join(known)}")


class NotInBook(AccountError):
    """What an operator named is not there: list what there is."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is no {kind} {name!r}")


class InBook(AccountError):
    """What an operator wants to make is there already: choose another name."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is {kind} {name!r} already; choose another name")


class BadName(AccountError):
    """A name, role, or scope cannot be one: says which can."""

    def __init__(self, kind: str, name: str, known: tuple[str, ...] = ()) -> None:
        can = " or ".join(known) or "letters, digits, and _ . @ -, at most 64, a letter first"
        super().__init__(f"{kind} {name[:100]!r} must be {can}")


class PlanOfFile(AccountError):
    """A plan of the config file is changed there: or make another one by command."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"plan {name!r} is the config file's: change it there and start the server again, "
            f"or make another one like it: `qdwell plan create NAME --like {name}`"
        )


class InUse(AccountError):
    """A plan that instances have is not removed: give them another one first."""

    def __init__(self, name: str, count: int, first: str) -> None:
        super().__init__(
            f"plan {name!r} is the plan of {count} instance{'' if count == 1 else 's'}, such as "
            f"{first!r}; give them another one first: `qdwell instance change {first} --plan NAME`"
        )


class FirstAccount(AccountError):
    """The first account is the operators' own, and stays open."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"account {name!r} is the operators' own and cannot be closed; "
            "`qdwell user disable` shuts a single user out"
        )


class BadRows(AccountError):
    """Lines of a class list cannot be: names each of them, and why; nobody was made."""

    SHOWN = 20

    def __init__(self, faults: list[tuple[int, str]]) -> None:
        self.faults = faults
        lines = "; ".join(f"line {line}: {why}" for line, why in faults[: self.SHOWN])
        more = len(faults) - self.SHOWN
        super().__init__(lines + (f"; and {more} lines more" if more > 0 else ""))


class OwnRole(AccountError):
    """Nobody takes their own role of admin away, or shuts themselves out: another admin can."""

    def __init__(self) -> None:
        super().__init__("you cannot shut yourself out of what you administer; another admin can")


class TooManyTokens(AccountError):
    """A user has as many tokens as one may have: revoke one that is not needed."""

    def __init__(self, most: int) -> None:
        super().__init__(f"one user has at most {most} tokens; revoke one that is not needed")


# ---- store ---------------------------------------------------------------------------------------


class StoreError(QdwellError):
    """The store could not do what was asked."""


class StaleWrite(StoreError):
    """A row had left the state that guarded the write; nothing was written: reload, decide
    again.
    """


class StoreTooNew(StoreError):
    """A newer release wrote the database: run that release, or restore an older backup."""


class StoreUnavailable(StoreError):
    """The database cannot be opened, read, or written now: names the path and the cause."""


class NotLeader(StoreUnavailable):
    """Another server on the same database has taken over; nothing was written, ask that one."""


class OutcomeUnknown(StoreUnavailable):
    """The commit itself failed: whether it is stored is known when the database is read again."""
