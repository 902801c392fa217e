"""Mutations of Python source: each is one small fault, put into the syntax tree of a module.

Left alone are docstrings, annotations, type variables, overloads, assertions, `__all__`, `__slots__`,
and texts for people: the texts of exceptions, and strings with a space.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import NamedTuple

_SWAPS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt,), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt,),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.Add: (ast.Sub,), ast.Sub: (ast.Add,),
    ast.Mult: (ast.FloorDiv,), ast.FloorDiv: (ast.Mult,), ast.Div: (ast.Mult,), ast.Mod: (ast.FloorDiv,),
    ast.LShift: (ast.RShift,), ast.RShift: (ast.LShift,), ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitAnd,), ast.And: (ast.Or,), ast.Or: (ast.And,),
}  # fmt: skip
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Mutant(NamedTuple):
    """One fault in one module."""

    #: "module::function: before -> after", with " #2" for the second of the kind in a function.
    name: str
    path: Path
    #: The first line of the outermost function around it; 0 if it runs when the module is imported.
    function: int
    lines: tuple[int, int]
    tree: ast.Module
    old: ast.AST
    new: ast.AST

    @property
    def mutated(self) -> range:
        """The numbers of the mutated lines."""
        return range(self.lines[0], self.lines[1] + 1)

    def compile(self) -> CodeType:
        """Return the code of the module with this fault."""
        _Replacer(self.old, self.new).visit(self.tree)
        try:
            return compile(self.tree, str(self.path), "exec")
        finally:
            _Replacer(self.new, self.old).visit(self.tree)


class _Replacer(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def mutants(path: Path, module: str) -> Iterator[Mutant]:
    """Yield the mutants of the module at `path`, which is named `module` in the names of mutants."""
    tree = ast.parse(path.read_text())
    counts: Counter[str] = Counter()
    for node, scope, function in _walk(tree, "-", 0):
        for new in _alternatives(node):
            ast.fix_missing_locations(ast.copy_location(new, node))
            name = f"{module}::{scope}: {_text(node)} -> {_text(new)}"
            counts[name] += 1
            suffix = f" #{counts[name]}" if counts[name] > 1 else ""
            lines = (node.lineno, getattr(node, "test", node).end_lineno)
            yield Mutant(name + suffix, path, function, lines, tree, node, new)


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(getattr(node, "test", node)).split())[:90]


def _walk(node: ast.AST, scope: str, function: int) -> Iterator[tuple[ast.AST, str, int]]:
    """Yield the nodes inside `node` that may be mutated, with the name and line of their function."""
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        scope = node.name if scope == "-" else f"{scope}.{node.name}"
        first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        inside = function or (first if isinstance(node, _FUNCTIONS) else 0)
        if isinstance(node, _FUNCTIONS):
            for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
                yield from _visit(default, scope, function)
        for statement in node.body:
            yield from _visit(statement, scope, inside)
        return
    for field, child in ast.iter_fields(node):
        if field != "annotation":
            for each in child if isinstance(child, list) else [child]:
                if isinstance(each, ast.AST):
                    yield from _visit(each, scope, function)


def _visit(node: ast.AST, scope: str, function: int) -> Iterator[tuple[ast.AST, str, int]]:
    match node:
        case ast.Assert() | ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return
        case ast.FunctionDef(decorator_list=[ast.Name(id="overload")]):
            return
        case ast.Assign(targets=[ast.Name(id="__all__" | "__slots__")]) | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return
        case (
            ast.AnnAssign(annotation=ast.Name(id="TypeAlias")) | ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar")))
        ):
            return
        case ast.Raise():
            yield node, scope, function
            return
    if hasattr(node, "lineno") and not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        yield node, scope, function
    yield from _walk(node, scope, function)


def _alternatives(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that may replace a node."""
    match node:
        case ast.Compare(left, ops, comparators):
            for index, operator in enumerate(ops):
                for new in _SWAPS[type(operator)]:
                    yield ast.Compare(left, [*ops[:index], new(), *ops[index + 1 :]], comparators)
        case ast.BinOp(left, op, right):
            yield from (ast.BinOp(left, new(), right) for new in _SWAPS.get(type(op), ()))
        case ast.AugAssign(target, op, value):
            yield from (ast.AugAssign(target, new(), value) for new in _SWAPS.get(type(op), ()))
        case ast.BoolOp(op, values):
            yield from (ast.BoolOp(new(), values) for new in _SWAPS[type(op)])
        case ast.UnaryOp(ast.Not() | ast.USub() | ast.Invert(), operand):
            yield operand
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(bytes(value)):
            yield ast.Constant(b"XX" + value)
        case ast.Constant(str(value)) if " " not in value:
            yield ast.Constant("XX" + value)
        case ast.Return(value) | ast.Assign(value=value) if value and not _is_no(value):
            none = ast.Constant(None)
            yield ast.Return(none) if isinstance(node, ast.Return) else ast.Assign(node.targets, none)
        case ast.If(test, body, orelse) | ast.While(test, body, orelse) | ast.IfExp(test, body, orelse):
            if not isinstance(test, (ast.Compare, ast.Constant)):
                yield type(node)(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Raise() | ast.Continue() | ast.Break() | ast.Delete() | ast.Expr():
            yield ast.Pass()


def _is_no(node: ast.expr) -> bool:
    """Return whether a node is None, or False, which is used as a truth value."""
    return isinstance(node, ast.Constant) and (node.value is None or node.value is False)
