"""The house numbers, and the calls that have no place here or only one."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator

import pytest

from tidy.reading import ROOT, Source, everywhere, sources

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
LINE_LENGTH_MAX = 100

#: dotted name of a call -> (the files or folders where it is at home, why not elsewhere).
BANNED_CALLS: dict[str, tuple[tuple[str, ...], str]] = {
    "time.sleep": ((), "wait for an event, or let the clock wake you"),
    "time.time": (("src/qdwell/clock.py",), "ask a Clock"),
    "time.time_ns": (("src/qdwell/clock.py",), "ask a Clock"),
    "time.monotonic": (("src/qdwell/clock.py", "bench/", "tests/e2e/"), "use stopwatch_ns"),
    "time.perf_counter": (("src/qdwell/clock.py", "bench/", "tests/e2e/"), "use stopwatch_ns"),
    "time.perf_counter_ns": (("src/qdwell/clock.py", "bench/", "tests/e2e/"), "use stopwatch_ns"),
    "datetime.now": ((), "ask a Clock"),
    "datetime.utcnow": ((), "ask a Clock"),
    "datetime.today": ((), "ask a Clock"),
    "datetime.datetime.now": ((), "ask a Clock"),
    "date.today": ((), "ask a Clock"),
    "os.urandom": (("src/qdwell/store/",), "chance has its own places"),
    "print": (
        ("src/qdwell/cli/", "bench/", "docs/", "release/", "tests/seeds/"),
        "log it, or return it",
    ),
    "eval": ((), "it runs what users send"),
    "exec": ((), "it runs what users send"),
    "pickle.load": ((), "it runs what users send"),
    "pickle.loads": (("src/qdwell/engine/", "tests/"), "only what our own server wrote"),
    "os.system": ((), "give the arguments as a list"),
    "breakpoint": ((), "it was meant to go"),
}

_REMINDERS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
_ASSERTING = re.compile(r"(^|\.)_?(assert|check|exercise|expect|must|refuse|run_state_machine)\w*$")


def long_things(source: Source) -> Iterator[str]:
    """Lines, functions, and files beyond the house numbers."""
    lines = source.text.splitlines()
    if len(lines) > FILE_LINES_MAX:
        yield f"{source.name} has {len(lines)} lines"
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_LENGTH_MAX:
            yield f"{source.name}:{number} is {len(line)} characters long"
    for function in source.functions():
        length = (function.end_lineno or 0) - function.lineno + 1
        if length > FUNCTION_LINES_MAX:
            yield f"{source.name}:{function.lineno} {function.name} has {length} lines"


def banned_calls(source: Source) -> Iterator[str]:
    """Calls that are not at home in this file."""
    for name, call in source.calls():
        if name in BANNED_CALLS:
            homes, why = BANNED_CALLS[name]
            if not (homes and source.name.startswith(homes)):
                yield f"{source.name}:{call.lineno} calls {name}: {why}"
        if any(it.arg == "shell" and is_true(it.value) for it in call.keywords):
            yield f"{source.name}:{call.lineno} uses a shell: give the arguments as a list"


def is_true(node: ast.expr) -> bool:
    """Whether an argument is the constant True."""
    return isinstance(node, ast.Constant) and node.value is True


def swallowed(source: Source) -> Iterator[str]:
    """Handlers that hide whatever went wrong."""
    for node in source.nodes:
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type else ""
        silent = all(isinstance(it, ast.Pass | ast.Continue) for it in node.body)
        if not caught:
            yield f"{source.name}:{node.lineno} catches everything: name what you expect"
        elif silent and caught in {"Exception", "BaseException"}:
            yield f"{source.name}:{node.lineno} swallows {caught}"
    for name, call in source.calls():
        if name.endswith("suppress") and any(
            ast.unparse(it) in {"Exception", "BaseException"} for it in call.args
        ):
            yield f"{source.name}:{call.lineno} swallows everything"


def reminders(source: Source) -> Iterator[str]:
    """Comments that put work off."""
    if not _REMINDERS.search(source.text):
        return
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT and _REMINDERS.search(token.string):
            yield f"{source.name}:{token.start[0]} {token.string}"


def waiting(source: Source) -> Iterator[str]:
    """Tests that sleep in the hope that something has happened meanwhile."""
    for name, call in source.calls():
        if name == "asyncio.sleep" and not (
            call.args and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0
        ):
            yield f"{source.name}:{call.lineno} sleeps: wait for the event, or move a ManualClock"


def toothless(source: Source) -> Iterator[str]:
    """Tests that cannot fail."""
    for function in source.functions():
        if not function.name.startswith("test_"):
            continue
        inside = list(ast.walk(function))
        called = [ast.unparse(it.func) for it in inside if isinstance(it, ast.Call)]
        keywords = [it for it in inside if isinstance(it, ast.keyword)]
        if not (
            any(isinstance(it, ast.Assert) for it in inside)
            or any(it in {"pytest.raises", "pytest.warns", "pytest.fail"} for it in called)
            or any(_ASSERTING.search(it) for it in called)
            # A process that has to end well is an assertion too.
            or any(it.arg == "check" and is_true(it.value) for it in keywords)
        ):
            yield f"{source.name}:{function.lineno} {function.name} asserts nothing"


RULES: list[tuple[Callable[[Source], Iterator[str]], Callable[[], tuple[Source, ...]]]] = [
    (long_things, everywhere),
    (banned_calls, everywhere),
    (swallowed, everywhere),
    (reminders, everywhere),
    (waiting, lambda: sources("tests")),
    (toothless, lambda: sources("tests")),
]


@pytest.mark.parametrize(("rule", "where"), RULES, ids=[rule.__name__ for rule, _ in RULES])
def test_the_rule_holds(rule, where) -> None:
    found = [breach for source in where() for breach in rule(source)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (long_things, "x = '" + "a" * 100 + "'"),
        (long_things, "x = 1\n" * 401),
        (long_things, "def f():\n" + "    x = 1\n" * 60),
        (banned_calls, "import time\ntime.sleep(1)"),
        (banned_calls, "from datetime import datetime\ndatetime.now()"),
        (banned_calls, "print('x')"),
        (banned_calls, "import subprocess\nsubprocess.run('ls', shell=True)"),
        (swallowed, "try:\n    x\nexcept:\n    raise"),
        (swallowed, "try:\n    x\nexcept Exception:\n    pass"),
        (swallowed, "with contextlib.suppress(Exception):\n    x"),
        (reminders, "x = 1  # TO" + "DO: later"),
        (waiting, "asyncio.sleep(0.1)"),
        (toothless, "def test_x():\n    f()"),
    ],
)
def test_a_breach_is_seen(rule, text: str) -> None:
    path = ROOT / "src" / "qdwell" / "engine" / "x.py"
    assert list(rule(Source(path, text, ast.parse(text))))


def test_what_is_allowed_is_not_a_breach() -> None:
    text = "async def test_x():\n    await asyncio.sleep(0)\n    check_all()\n"
    source = Source(ROOT / "tests" / "x.py", text, ast.parse(text))
    assert [breach for rule, _ in RULES for breach in rule(source)] == []
