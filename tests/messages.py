"""The messages that the project prints when something is wrong, read out of its source."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from visiongate import paths

ROOT = Path(__file__).parents[1]
ANY = "…"  # what stands for a part that varies
BASES = frozenset({"VisiongateError", "ArgumentTypeError"})
SETTINGS = (
    "config.py",
    "setting_errors.py",
)  # whose ValueErrors pydantic hands on, to be told as SettingsErrors
UNSAID = ("description", "help", "pattern", "prog")  # arguments that are no messages
LABEL = re.compile(rf"^[\w.]*=? ?{ANY}?: ")  # a command or a variable, which says nothing of what is wrong
HOLE = re.compile(r"%s|\{\d\}")  # for what varies, in a text that is filled in later
WORD = re.compile(r"[^\W\d_]{2,}")
LEAST_WORDS = 2  # of a part that says something


@dataclass(frozen=True, slots=True)
class Message:
    """What may be printed, with what varies left open."""

    text: str
    place: str  # the file and line that say it
    whole: bool  # or a part that is put into another


@dataclass(frozen=True)
class Module:
    """A source file, with what its own names stand for."""

    path: Path
    tree: ast.Module

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        return {node.name: node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)}

    @cached_property
    def values(self) -> dict[str, ast.expr]:
        """The module's constants."""
        return {
            target.id: node.value
            for node in self.tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }

    @cached_property
    def imports(self) -> dict[str, str]:
        """The modules of the project that imported names come from."""
        nodes = (node for node in ast.walk(self.tree) if isinstance(node, ast.ImportFrom))
        return {alias.name: node.module or "" for node in nodes for alias in node.names}


@cache
def read_modules() -> dict[str, Module]:
    """Parse the project, by dotted name."""
    source = ROOT / "src"
    return {
        ".".join(path.relative_to(source).with_suffix("").parts): Module(
            path, ast.parse(path.read_text(encoding="utf-8"))
        )
        for path in sorted(source.rglob("*.py"))
    }


def collect() -> Iterator[Message]:
    """Find all messages: of the errors that a user can mend, of what goes to standard error, of the Makefile."""
    errors = error_names()
    for module in read_modules().values():
        for call in (node for node in ast.walk(module.tree) if isinstance(node, ast.Call)):
            spoken = find_spoken(call, errors, module)
            if spoken is not None:
                place = f"{module.path.relative_to(ROOT)}:{call.lineno}"
                yield from (Message(text, place, whole) for text, whole in read_texts(module, call, spoken))
    for said in re.findall(r'echo "([^"]*\w{2} [^"]*)" >&2', (ROOT / "Makefile").read_text(encoding="utf-8")):
        yield Message(re.sub(r"\$\([^)]*\)|\$+\w+", ANY, said), "Makefile", whole=True)


def error_names() -> set[str]:
    """Name the errors that derive from the project's own, at whatever depth."""
    classes = [
        node
        for module in read_modules().values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    ]
    names = set(BASES)
    while found := {node.name for node in classes if names & set(map(last_name, node.bases))} - names:
        names |= found
    return names


def last_name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def find_spoken(call: ast.Call, errors: set[str], module: Module) -> ast.expr | None:
    """Return the expression that a call shows to the user; None if it shows none."""
    name = ast.unparse(call.func)
    is_error = last_name(call.func) in errors or (name == "ValueError" and module.path.name in SETTINGS)
    to_stderr = any(ast.unparse(keyword.value) == "sys.stderr" for keyword in call.keywords)
    is_told = is_error or to_stderr or name in {"sys.stderr.write", "logger.warning"}
    return call.args[0] if is_told and call.args else None


def read_texts(module: Module, call: ast.Call, spoken: ast.expr) -> Iterator[tuple[str, bool]]:
    """Read what an expression comes to, and what may be put into it; not what has no fixed words of its own."""
    reader = Reader(module, call)
    whole = reader.literal(spoken)
    for text in reader.texts(spoken):
        flat = re.sub(rf"{ANY}+", ANY, " ".join(HOLE.sub(ANY, text).split()))
        if text == whole:
            says = WORD.search(LABEL.sub("", flat)) is not None
        else:
            says = " " in flat and len(WORD.findall(flat)) >= LEAST_WORDS
        if says:
            yield flat, text == whole


class Reader:
    """Follows local names, constants and the project's functions to the texts that they stand for."""

    def __init__(self, module: Module, within: ast.AST, seen: set[str] | None = None) -> None:
        self._module, self._functions, self._values = module, module.functions, module.values
        self._locals = self._assigned_around(within)
        self._seen = set() if seen is None else seen

    def literal(self, node: ast.AST) -> str | None:
        """Return a text with its constants put in; None of what is no text."""
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else None
        if isinstance(node, ast.JoinedStr):
            return "".join(self._part(value) for value in node.values)
        if isinstance(node, ast.BinOp) and (start := self.literal(node.left)) is not None:
            return f"{start}{ANY}"
        is_path = isinstance(node, ast.Call) and ast.unparse(node.func) == "Path"
        return self.literal(node.args[0]) if is_path and node.args else None

    def texts(self, node: ast.AST) -> Iterator[str]:
        """Find the texts in an expression and in what it leads to."""
        if (text := self.literal(node)) is not None:
            yield text
        if isinstance(node, ast.Name) and node.id not in self._seen:
            self._seen.add(node.id)
            for value in (self._locals.get(node.id), self._values.get(node.id)):
                yield from () if value is None else self.texts(value)
        elif isinstance(node, ast.Call):
            yield from self._returned(ast.unparse(node.func))
        unsaid = self._unsaid(node)
        for child in ast.iter_child_nodes(node):
            if child not in unsaid:
                yield from self.texts(child)

    def _unsaid(self, node: ast.AST) -> list[ast.AST]:
        """List the parts of an expression that are not shown: regular expressions, and what is told of already."""
        if isinstance(node, ast.JoinedStr):
            return [value for value in node.values if isinstance(value, ast.Constant)]
        if not isinstance(node, ast.Call):
            return []
        if ast.unparse(node.func) == "re.compile":
            return [*node.args]
        function = self._functions.get(ast.unparse(node.func))
        names = [argument.arg for argument in function.args.args] if function else []
        placed = [given for name, given in zip(names, node.args, strict=False) if name in UNSAID]
        return [*placed, *(keyword for keyword in node.keywords if keyword.arg in UNSAID)]

    def _returned(self, name: str) -> Iterator[str]:
        """Read what a function of the project may return."""
        home = read_modules().get(self._module.imports.get(name, ""), self._module)
        function = home.functions.get(name)
        if function is not None and name not in self._seen:
            self._seen.add(name)
            inner = Reader(home, function, self._seen)
            for node in ast.walk(function):
                if isinstance(node, ast.Return) and node.value is not None:
                    yield from inner.texts(node.value)

    def _part(self, node: ast.expr) -> str:
        if not isinstance(node, ast.FormattedValue):
            return self.literal(node) or ANY
        value = self._constant(node.value)
        return ANY if value is None else repr(value) if node.conversion == ord("r") else value

    def _constant(self, node: ast.expr) -> str | None:
        name = ast.unparse(node)
        if name in self._values:
            return self.literal(self._values[name])
        is_path = name.startswith("paths.") or self._module.imports.get(name) == paths.__name__
        return str(getattr(paths, name.removeprefix("paths."))) if is_path else None

    def _assigned_around(self, node: ast.AST) -> dict[str, ast.expr]:
        """Return the values of the local names, in the innermost function that holds a node."""
        line = getattr(node, "lineno", 0)
        around = [f for f in self._functions.values() if f.lineno <= line <= (f.end_lineno or 0)]
        if not around:
            return {}
        nodes = list(ast.walk(max(around, key=lambda f: f.lineno)))
        looped = {
            name.id: inner.iter
            for inner in nodes
            if isinstance(inner, ast.For)
            for name in ast.walk(inner.target)
            if isinstance(name, ast.Name)
        }
        return looped | {
            inner.targets[0].id: inner.value
            for inner in nodes
            if isinstance(inner, ast.Assign) and isinstance(inner.targets[0], ast.Name)
        }
