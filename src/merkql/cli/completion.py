"""``merkql completion``: what a shell sources to complete commands, options, topics and groups.

The words come from the parsers; the names of topics and groups are asked for when they are needed.
"""

from __future__ import annotations

import argparse
from argparse import Namespace

from merkql.cli.commands import COMMANDS, new_parser
from merkql.cli.parsing import Parser, Subparsers, new_command

_TOPICS = {"topic", "topics", "name", "names"}  # by the name of an argument, what completes it
_GROUPS = {"group", "groups"}
_FILES = {"file", "path", "directory"}


def add_parser(subparsers: Subparsers) -> Parser:
    """``merkql completion SHELL``."""
    parser = new_command(
        subparsers,
        "completion",
        arguments="bash|zsh|fish",
        description="Print what a shell sources to complete commands, options, topics and groups.",
        examples=(
            'eval "$(merkql completion bash)"                              # in ~/.bashrc',
            'eval "$(merkql completion zsh)"                               # in ~/.zshrc',
            "merkql completion fish >~/.config/fish/completions/merkql.fish",
        ),
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    return parser


def run(arguments: Namespace) -> int:
    """Print it; the status is 0."""
    text = {"bash": bash, "zsh": zsh, "fish": fish}[arguments.shell]()
    arguments.terminal.out.write(text.encode())
    return 0


def bash() -> str:
    """For bash."""
    cases = []
    for name, parser in _parsers().items():
        options = " ".join(
            option for action in _options(parser) for option in action.option_strings
        )
        valued = "".join(
            f"            {'|'.join(action.option_strings)}) what={_kind(action)} ;;\n"
            for action in _options(parser)
            if action.nargs != 0
        )
        known = f"options='{options}' rest={_rest(parser)} words='{' '.join(_choices(parser))}'"
        cases.append(
            f"        {name})\n            {known}\n"
            f'            case "$before" in\n{valued}            esac ;;\n'
        )
    return _BASH.format(commands=" ".join(COMMANDS), cases="".join(cases))


def zsh() -> str:
    """For zsh, which runs bash's."""
    return "autoload -Uz bashcompinit && bashcompinit\n" + bash()


def fish() -> str:
    """For fish."""
    known = " ".join(COMMANDS)
    none = f"-n 'not __fish_seen_subcommand_from {known}'"
    lines = [_FISH, "complete -c merkql -f"]
    for option in (
        "-s d -s b -l directory -r -F -d 'the data directory'",
        "-s h -l help -d 'the commands there are'",
        "-s V -l version -d 'versions of merkql and its formats'",
    ):
        lines.append(f"complete -c merkql {none} {option}")
    for name, (_, summary) in COMMANDS.items():
        lines.append(f"complete -c merkql {none} -a {name} -d '{_quoted(summary)}'")
    for name, parser in _parsers().items():
        condition = f"-n '__fish_seen_subcommand_from {name}'"
        for action in _options(parser):
            flags = " ".join(
                f"-l {o[2:]}" if o.startswith("--") else f"-s {o[1:]}"
                for o in action.option_strings
            )
            takes = f" -r{_FISH_VALUES[_kind(action)]}" if action.nargs != 0 else ""
            text = _quoted((action.help or "").replace("%%", "%"))
            lines.append(f"complete -c merkql {condition} {flags}{takes} -d '{text}'")
        for word in _choices(parser):
            lines.append(f"complete -c merkql {condition} -a {word}")
        if _rest(parser) != "none":
            lines.append(f"complete -c merkql {condition}{_FISH_VALUES[_rest(parser)]}")
    return "\n".join(lines) + "\n"


def _parsers() -> dict[str, Parser]:
    top = new_parser(list(COMMANDS))
    return top.commands.made


def _options(parser: Parser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings]


def _choices(parser: Parser) -> list[str]:
    """The fixed words an argument may be."""
    if parser.prog == "merkql help":
        return list(COMMANDS)
    plain = [action for action in parser._actions if not action.option_strings]
    return [str(word) for action in plain for word in action.choices or ()]


def _rest(parser: Parser) -> str:
    """What completes the arguments that are no options."""
    plain = [action for action in parser._actions if not action.option_strings]
    return _kind(plain[0]) if plain and not _choices(parser) else "none"


def _kind(action: argparse.Action) -> str:
    if action.dest in _TOPICS:
        return "topics"
    if action.dest in _GROUPS:
        return "groups"
    return "files" if action.dest in _FILES else "none"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


_FISH_VALUES = {
    "topics": " -f -a '(__merkql_names topics)'",
    "groups": " -f -a '(__merkql_names groups)'",
    "files": " -F",
    "none": "",
}
_FISH = """\
function __merkql_names
    set -l given
    set -l before
    for word in (commandline -opc)
        switch $word
            case '--directory=*'
                set given $word
            case '*'
                contains -- "$before" -d -b --directory; and set given -d $word
        end
        set before $word
    end
    merkql $given $argv[1] --names 2>/dev/null
end"""
_BASH = """\
_merkql() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    local command='' directory='' options='' rest=none words='' what='' i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "${{COMP_WORDS[i]}}" in
            -d|-b|--directory) directory=${{COMP_WORDS[++i]}} ;;
            -*) ;;
            *) command=${{COMP_WORDS[i]}}; break ;;
        esac
    done
    for ((; i < COMP_CWORD; i++)); do
        case "${{COMP_WORDS[i]}}" in
            -d|-b|--directory) directory=${{COMP_WORDS[i+1]}} ;;
        esac
    done
    case "$command" in
        '') words='{commands}' options='-d --directory --help --version'
            case "$before" in -d|-b|--directory) what=files ;; esac ;;
{cases}    esac
    if [[ -z $what ]]; then
        if [[ $word == -* ]]; then
            COMPREPLY=($(compgen -W "$options" -- "$word"))
            return
        fi
        what=$rest
    fi
    case "$what" in
        topics|groups)
            [[ -n $directory ]] && directory="-d $directory"
            words+=" $(merkql $directory $what --names 2>/dev/null)" ;;
        files) COMPREPLY=($(compgen -f -- "$word")); return ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o filenames -o bashdefault -F _merkql merkql
"""
