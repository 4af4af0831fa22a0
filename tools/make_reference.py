"""Writes docs/reference from the source; with `--check`, tells whether it is up to date.

Signatures are those of the sources and stubs, docstrings those of the running library: the .pyx has
the docstrings of what its .pyi declares. One page a module. Pages written by hand are left alone.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import merkql
from merkql.broker_config import BrokerOptions
from merkql.cli.commands import COMMANDS, new_parser
from merkql.cli.help import overview
from merkql.consumer_arguments import ConsumerOptions

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/reference"
NOTICE = "<!-- written by `make docs` from the docstrings; edit those -->\n"
NOTICE_OF_COMMANDS = "<!-- written by `make docs` from the parsers in merkql.cli; edit those -->\n"
STATUSES = """\
## Exit status

| status | what it means |
|---|---|
| 0 | done |
| 1 | an error, in one line on standard error |
| 2 | what was typed cannot be done |
| 3 | bytes on disk are wrong; the file and the position are named |
| 70 | a mistake of merkql's own; with `MERKQL_TRACEBACK=1` it shows where |
| 130, 143 | ended by Ctrl-C, by SIGTERM; what was acknowledged is kept |
| 141 | nobody reads the output any more |

## Environment

`MERKQL_DIRECTORY` is the data directory where no `-d` is given; `NO_COLOR`, set to anything, keeps
colours away."""
# Modules whose public names are reached by the module, not from `merkql` itself.
MODULES = [
    "merkql.partitioners",
    "merkql.proof",
    "merkql.transparency.note",
    "merkql.transparency.policy",
]
# Users never make these themselves: how they are made is not for the reference.
HANDED_OUT = {"Broker", "Consumer", "Delivery", "Partition", "Producer", "Topic"}

# Where options go on to, that a signature only names as a whole: their defaults are there.
OPTIONS = [(BrokerOptions, merkql.BrokerConfig), (ConsumerOptions, merkql.Consumer)]
OTHER_DEFAULTS = {("temporary", "default_durability"): "disk"}


class Source:
    """The syntax tree of a module: its .py, or the stub of a compiled one."""

    def __init__(self, module: str) -> None:
        path = ROOT / "src" / (module.replace(".", "/") + ".py")
        self.path = path if path.exists() else path.with_suffix(".pyi")
        self.text = self.path.read_text(encoding="utf-8")
        self.definitions = {
            node.name: node
            for node in ast.parse(self.text).body
            if isinstance(node, (ast.ClassDef, ast.FunctionDef))
        }

    def signature(self, node: ast.FunctionDef) -> str:
        """What stands between `def` and the colon, on one line, without `self`."""
        lines = self.text.splitlines()[node.lineno - 1 : node.body[0].lineno]
        text = re.sub(r"\s#[^\n]*", "", "\n".join(lines))
        text = re.sub(r"\s+", " ", text[text.index("def ") + 4 :])
        depth = 0
        for at, letter in enumerate(text):
            depth += (letter in "([{") - (letter in ")]}")
            if letter == ":" and depth == 0:
                text = text[:at]
                break
        text = text.replace("( ", "(").replace(", )", ")").replace(" )", ")")
        return with_options(re.sub(r"\((self|cls)(, )?", "(", text, count=1))


def with_options(signature: str) -> str:
    """The signature with the options that it names as a whole spelled out, one a line."""
    for options, taker in OPTIONS:
        whole = re.search(rf"\((.*?)(?:, )?\*\*\w+: Unpack\[{options.__name__}\]\)", signature)
        if whole is None:
            continue
        name = signature[: whole.start()]
        parameters = inspect.signature(taker).parameters
        lines = [whole[1]] if whole[1] else []
        lines += ["*", *(option(name, parameters[one]) for one in options.__annotations__)]
        spelled = "".join(f"    {line},\n" for line in lines)
        signature = f"{name}(\n{spelled}){signature[whole.end() :]}"
    return signature


def option(method: str, parameter: inspect.Parameter) -> str:
    default = OTHER_DEFAULTS.get((method, parameter.name), parameter.default)
    if repr(default) == "<factory>":
        text = f"{parameter.annotation}()"
    elif callable(default):
        text = f"{default.__module__}.{default.__name__}"
    else:
        text = repr(default).replace("'", '"')
    return f"{parameter.name}: {parameter.annotation} = {text}"


def docstring(made: object) -> str:
    """The docstring, without the signature that Cython writes above it."""
    text = inspect.getdoc(made) or ""
    first, _, rest = text.partition("\n")
    return rest.strip() if re.match(r"[\w.]+\(.*\)( -> .*)?$", first) else text


def rendered(text: str) -> str:
    """reStructuredText's roles and literals, as Markdown has them."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")


def is_property(node: ast.FunctionDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "property" for mark in node.decorator_list)


def member_text(source: Source, node: ast.FunctionDef) -> str:
    signature = source.signature(node)
    if is_property(node):
        signature = signature.replace("()", "", 1).replace(" -> ", ": ", 1)
    return signature


def fields_of(source: Source, node: ast.ClassDef, owner: type) -> list[str]:
    """The annotated attributes of a class, and the properties that say all by their name."""
    fields = [
        ast.get_source_segment(source.text, item) or ""
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and not item.target.id.startswith("_")
    ]
    return fields + [
        member_text(source, item)
        for name, item in members_of(source, node)
        if is_property(item) and not docstring(getattr(owner, name, None))
    ]


def members_of(source: Source, node: ast.ClassDef) -> Iterator[tuple[str, ast.FunctionDef]]:
    for item in node.body:
        if not isinstance(item, ast.FunctionDef) or item.name.startswith("_"):
            continue
        if not any(ast.unparse(mark).endswith(".setter") for mark in item.decorator_list):
            yield item.name, item


def class_page(source: Source, node: ast.ClassDef, owner: type) -> Iterator[str]:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    yield f"## `{node.name}`" + (f" ({bases})" if bases else "")
    yield rendered(docstring(owner))
    constructors = [
        item
        for item in node.body
        if isinstance(item, ast.FunctionDef) and item.name in {"__init__", "__new__"}
    ]
    is_hidden = node.name in HANDED_OUT or issubclass(owner, BaseException)
    if constructors and not is_hidden:
        signature = source.signature(constructors[0]).replace(constructors[0].name, node.name, 1)
        yield f"```python\n{signature.removesuffix(' -> None')}\n```"
    if fields := fields_of(source, node, owner):
        yield "```python\n" + "\n".join(fields) + "\n```"
    seen, overloaded = set(), set()
    for name, item in members_of(source, node):
        text = rendered(docstring(getattr(owner, name, None)))
        if is_property(item) and not text:
            continue
        is_overload = any(ast.unparse(mark) == "overload" for mark in item.decorator_list)
        yield f"### `{name}`" if name not in seen else ""
        if is_overload or name not in overloaded:  # what implements the overloads says less
            yield f"```python\n{member_text(source, item)}\n```"
        yield "" if is_overload else text
        seen.add(name)
        overloaded |= {name} if is_overload else set()


def page(module: str, names: list[str]) -> str:
    source, running = Source(module), importlib.import_module(module)
    parts = [f"# `{module}`", rendered(docstring(running))]
    if public := [name for name in names if name in merkql.__all__]:
        parts.append(f"```python\nfrom merkql import {', '.join(public)}\n```")
    for name in names:
        node = source.definitions.get(name)
        if isinstance(node, ast.ClassDef):
            parts += class_page(source, node, getattr(running, name))
        elif isinstance(node, ast.FunctionDef):
            parts += [f"## `{name}`", f"```python\n{source.signature(node)}\n```"]
            parts += [rendered(docstring(getattr(running, name)))]
    return NOTICE + "\n\n".join(part for part in parts if part).strip() + "\n"


def command_page() -> str:
    """The help of every command, as the command prints it."""
    parts = ["# `merkql`, the command", f"```\n{overview()}```"]
    for name, parser in new_parser(list(COMMANDS)).commands.made.items():
        parts.append(f"## `merkql {name}`\n\n```\n{parser.format_help()}```")
    parts.append(STATUSES)
    return NOTICE_OF_COMMANDS + "\n\n".join(parts) + "\n"


def names_by_module() -> dict[str, list[str]]:
    """The public names, below the module that makes each: values without one are left out."""
    found: dict[str, list[str]] = {}
    for name in merkql.__all__:
        module = getattr(getattr(merkql, name), "__module__", "")
        if module.startswith("merkql"):
            found.setdefault(module, []).append(name)
    for module in MODULES:
        names = [name for name in Source(module).definitions if not name.startswith("_")]
        found[module] = names
    return found


def pages() -> dict[str, str]:
    """Every page by its file name, README.md with the table of them last."""
    made = {}
    rows = ["| page | names |", "|---|---|"]
    for module, names in names_by_module().items():
        file_name = module.removeprefix("merkql.").replace("_core.", "").replace(".", "-") + ".md"
        made[file_name] = page(module, names)
        rows.append(f"| [{module}]({file_name}) | {', '.join(f'`{name}`' for name in names)} |")
    made["command.md"] = command_page()
    rows.append(f"| [the command](command.md) | {', '.join(f'`{name}`' for name in COMMANDS)} |")
    heading = f"{NOTICE}# Reference\n\nEvery public name, by the module that makes it.\n\n"
    made["README.md"] = heading + "\n".join(rows) + "\n"
    return made


def main() -> None:
    made = pages()
    there = {
        path.name: path.read_text(encoding="utf-8")
        for path in FOLDER.glob("*.md")
        if path.name in made or path.read_text(encoding="utf-8").startswith(NOTICE)
    }
    changed = sorted(name for name in {*made, *there} if made.get(name) != there.get(name))
    if "--check" in sys.argv:
        sys.exit(f"docs/reference is not what the source says: {changed}" if changed else 0)
    for name in changed:
        if name in made:
            (FOLDER / name).write_text(made[name], encoding="utf-8")
        else:
            (FOLDER / name).unlink()


if __name__ == "__main__":
    main()
