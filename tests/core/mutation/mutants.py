"""Makes mutants of the core: one small fault each, planted in the syntax tree.

Not a test. A fault is a comparison turned, `and` for `or`, a `not` dropped, a sum turned round,
a number moved by one, a truth turned, a statement left out, a loop left early, or `min` for `max`.
Left alone: annotations, decorators, docstrings and other texts, and `assert` (it states what must
hold; nothing depends on it).
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CORE = Path(__file__).resolve().parents[3] / "src" / "qdwell" / "core"

TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
SUMS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
}
OTHER_NAME = {"min": "max", "max": "min", "any": "all", "all": "any"}


Place = tuple[tuple[str, int | None], ...]  # the way from the module to a node of its tree


@dataclass(frozen=True)
class Mutant:
    """One fault, and where it is."""

    module: str  #: e.g. "queue"
    line: int
    inside: str  #: the function or class it is in, e.g. "Turn.note"; empty for the module itself
    fault: str
    place: Place
    changed: ast.AST

    @property
    def name(self) -> str:
        """How survivors are listed: without the line, since lines move."""
        place = f"{self.module}.{self.inside}" if self.inside else self.module
        return f"{place}: {self.fault}"

    def source(self) -> str:
        """Return the module's source with the fault in it."""
        tree = _tree(self.module)
        _put(tree, self.place, self.changed)
        return ast.unparse(ast.fix_missing_locations(tree))


def _tree(module: str) -> ast.Module:
    return ast.parse((CORE / f"{module}.py").read_text(encoding="utf-8"))


def modules() -> list[str]:
    """Names of the core's modules, those without code left out."""
    return sorted(path.stem for path in CORE.glob("*.py") if path.stem != "__init__")


def mutants(module: str) -> Iterator[Mutant]:
    """Yield every mutant of a module."""
    tree = _tree(module)
    for place in _places(tree, ()):
        node = _at(tree, place)
        line = getattr(node, "lineno", 0)
        for fault, changed in _changes(node):
            story = f"{fault} in `{_words(tree, node, place)}`"
            yield Mutant(module, line, _inside(tree, place), story, place, changed)


def _words(tree: ast.AST, node: ast.AST, place: Place) -> str:
    """The node as source; a mere number or truth with what it is part of."""
    words = ast.unparse(node)
    if isinstance(node, ast.Constant):
        words += "` of `" + ast.unparse(_at(tree, place[:-1]))
    return words.splitlines()[0][:90]


def _inside(tree: ast.AST, place: Place) -> str:
    names = []
    for depth in range(1, len(place)):
        node = _at(tree, place[:depth])
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
    return ".".join(names)


def _places(node: ast.AST, place: Place) -> Iterator[Place]:
    yield place
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        if isinstance(value, list):
            for number, each in enumerate(value):
                if isinstance(each, ast.AST) and not isinstance(each, ast.Assert):
                    yield from _places(each, (*place, (name, number)))
        elif isinstance(value, ast.AST):
            yield from _places(value, (*place, (name, None)))


def _at(tree: ast.AST, place: Place) -> ast.AST:
    for name, number in place:
        value = getattr(tree, name)
        tree = value if number is None else value[number]
    return tree


def _put(tree: ast.AST, place: Place, new: ast.AST) -> None:
    *before, (name, number) = place
    parent = _at(tree, tuple(before))
    if number is None:
        setattr(parent, name, new)
    else:
        getattr(parent, name)[number] = new


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.Compare():
            for number, op in enumerate(node.ops):
                new = copy.deepcopy(node)
                new.ops[number] = TURNED[type(op)]()
                yield f"{type(op).__name__} to {type(new.ops[number]).__name__}", new
        case ast.BoolOp():
            new_bool = copy.deepcopy(node)
            new_bool.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield "and for or", new_bool
        case ast.UnaryOp(op=ast.Not()):
            yield "not dropped", node.operand
        case ast.BinOp() if type(node.op) in SUMS and not _is_text(node):
            new_sum = copy.deepcopy(node)
            new_sum.op = SUMS[type(node.op)]()
            yield f"{type(node.op).__name__} to {type(new_sum.op).__name__}", new_sum
        case ast.AugAssign() if type(node.op) in SUMS:
            new_aug = copy.deepcopy(node)
            new_aug.op = SUMS[type(node.op)]()
            yield f"{type(node.op).__name__} to {type(new_aug.op).__name__}", new_aug
            yield "left out", ast.Pass()
        case ast.Constant(value=bool() as truth):
            yield "truth turned", ast.Constant(not truth)
        case ast.Constant(value=int() as number):
            yield "number moved", ast.Constant(number + 1)
        case ast.Call(func=ast.Name(id=name)) if name in OTHER_NAME:
            new_call = copy.deepcopy(node)
            new_call.func = ast.Name(OTHER_NAME[name], ast.Load())
            yield f"{OTHER_NAME[name]} for {name}", new_call
        case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()):
            yield "left out", ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript() | ast.Tuple()]) | ast.Delete():
            yield "left out", ast.Pass()
        case ast.Break():
            yield "continue for break", ast.Continue()
        case ast.Continue():
            yield "break for continue", ast.Break()
        case ast.Return(value=ast.expr()) if not isinstance(node.value, ast.Constant):
            yield "None returned", ast.Return(ast.Constant(None))
        case ast.Return(value=None):
            yield "return left out", ast.Pass()


def _is_text(node: ast.BinOp) -> bool:
    return any(isinstance(each, ast.JoinedStr) for each in (node.left, node.right))
