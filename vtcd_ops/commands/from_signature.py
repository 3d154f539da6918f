"""Commands made from the signatures of public verbs: name, default and help are defined once.

A verb is a function such as `vtcd_ops.discover`. Its parameters become arguments and options of the
same names and defaults; the help of each is what the verb's docstring says of it under ``Args:``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from vtcd_ops.commands.output import output
from vtcd_ops.common.errors import InputError

__all__ = [
    "command_of",
    "extra_option",
    "number_or_word",
    "parse_numbers",
    "parse_shares",
    "parse_words",
]

Parser = Callable[[str], Any]


def parse_numbers(text: str) -> list[int] | None:
    """Return numbers given as "0,3,8-11", or -1 for the last; "all": None.

    >>> parse_numbers("0,3,8-11"), parse_numbers("0,-1"), parse_numbers("all")
    ([0, 3, 8, 9, 10, 11], [0, -1], None)
    """
    if text == "all":
        return None
    numbers: list[int] = []
    try:
        for piece in text.split(","):
            first, _, last = piece.strip().partition("-")
            if first:
                numbers += range(int(first), int(last or first) + 1)
            else:
                numbers.append(int(piece))
    except ValueError:
        raise InputError(f"expected numbers such as 0,3,8-11, got {text!r}") from None
    return numbers


def parse_shares(text: str) -> float | list[float]:
    """Return one number, or several with commas between.

    >>> parse_shares(".15"), parse_shares(".15,.3")
    (0.15, [0.15, 0.3])
    """
    try:
        shares = [float(piece) for piece in text.split(",")]
    except ValueError:
        raise InputError(f"expected numbers such as .15, or .15,.3, got {text!r}") from None
    return shares[0] if len(shares) == 1 else shares


def parse_words(text: str) -> list[str]:
    """Return words given with commas between.

    >>> parse_words("keys, values")
    ['keys', 'values']
    """
    return [word.strip() for word in text.split(",")]


def number_or_word(text: str) -> int | float | str:
    """Return a number where the text is one, else the text.

    >>> number_or_word("16"), number_or_word(".5"), number_or_word("auto")
    (16, 0.5, 'auto')
    """
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


#: How the text of an option becomes a value, by the verb's annotation without its None.
_PARSERS: dict[str, Parser] = {
    "int | str": number_or_word,
    "float | str": number_or_word,
    "Sequence[int]": parse_numbers,
    "Sequence[str]": parse_words,
    "Sequence[str] | str": lambda text: text if text == "all" else parse_words(text),
    "float | Sequence[float]": parse_shares,
    "str | Sequence[str]": lambda text: words[0] if len(words := parse_words(text)) == 1 else words,
}
_PLAIN: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}


def command_of(
    verb: Callable[..., Any],
    show: Callable[..., None],
    *,
    arguments: Mapping[str, Any] | None = None,
    parsers: Mapping[str, Parser] | None = None,
    required: Sequence[str] = (),
    without: Sequence[str] = (),
    more: Sequence[inspect.Parameter] = (),
    before: Callable[..., None] | None = None,
) -> Callable[..., None]:
    """Return a command for `typer` that calls a verb and shows what it gives back.

    Args:
        verb: the function; parameters without a parser (objects of Python) must be positional.
        show: called with the result, and with the values of `more` by name.
        arguments: annotation of each positional argument, by name, in order; None of them: none.
        parsers: how the text of an option becomes its value, where its annotation does not say.
        required: options without which the command would have nowhere to write.
        without: parameters that no text can give, which keep their defaults.
        more: options of the command alone.
        before: called with the values of `more` before the verb is.
    """
    arguments = arguments or {}
    helps = argument_help(verb)
    parameters, read = [], {}
    for parameter in inspect.signature(verb).parameters.values():
        if parameter.name in without:
            continue
        # on the command line None is what an option is that nobody gave, or the word none
        none = "by default: " if parameter.default is None else "none: "
        help_text = helps.get(parameter.name, "").replace("None: ", none)
        if parameter.name in arguments:
            kind: Any = arguments[parameter.name]
            annotation = Annotated[kind, typer.Argument(help=help_text)]
            parameters.append(_keyword(parameter.name, annotation, parameter.default))
            continue
        if parameter.name in required:
            parameter = parameter.replace(default=inspect.Parameter.empty)
        parser = (parsers or {}).get(parameter.name) or _parser_of(parameter)
        if parser is not None:
            read[parameter.name] = parser
        parameters.append(_option(parameter, help_text, parser is not None))
    parameters += more

    def command(**values: Any) -> None:
        extra = {parameter.name: values.pop(parameter.name) for parameter in more}
        # an argument that takes any number of values is an empty list where none is given
        given = {name: None if value == [] else value for name, value in values.items()}
        for name, parser in read.items():
            given[name] = _value(name, given[name], parser)
        if before is not None:
            before(**extra)
        if output.quiet and "progress" in given:
            given["progress"] = False
        show(verb(**given), **extra)

    command.__doc__ = (inspect.getdoc(verb) or "").split("\n\n")[0]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def extra_option(
    name: str, kind: Any, help_text: str, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    """Return an option of a command alone, for `command_of(more=...)`; no default: required."""
    return _keyword(name, Annotated[kind, typer.Option(help=help_text)], default)


def _parser_of(parameter: inspect.Parameter) -> Parser | None:
    """How the text of an option becomes its value; None where `typer` itself reads it."""
    annotation = str(parameter.annotation)
    bare = annotation.removesuffix(" | None")
    if bare != annotation and parameter.default not in (None, inspect.Parameter.empty):
        parser: Parser = _PARSERS.get(bare) or _PLAIN[bare]
        return lambda text: None if text == "none" else parser(text)
    if bare in _PLAIN or "Path" in bare:
        return None
    if bare not in _PARSERS:
        raise TypeError(f"{parameter.name}: no parser for {annotation}")
    return _PARSERS[bare]


def _option(parameter: inspect.Parameter, help_text: str, is_text: bool) -> inspect.Parameter:
    """The option of a verb's parameter."""
    bare = str(parameter.annotation).removesuffix(" | None")
    default = parameter.default
    kind: Any = str if is_text else _PLAIN.get(bare, Path)
    if is_text and default not in (None, inspect.Parameter.empty):
        default = _text_of(default)
    if default is None:
        kind = kind | None
    return _keyword(parameter.name, Annotated[kind, typer.Option(help=help_text)], default)


def _value(name: str, text: str | None, parser: Parser) -> Any:
    """The value of an option, or a refusal that names it."""
    try:
        return None if text is None else parser(text)
    except ValueError as error:
        said = error if isinstance(error, InputError) else f"expected a number, got {text!r}"
        raise InputError(f"--{name.replace('_', '-')}: {said}") from None


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _text_of(default: Any) -> str:
    """A default as it is typed.

    >>> _text_of(("keys",)), _text_of(0.1)
    ('keys', '0.1')
    """
    return ",".join(map(str, default)) if isinstance(default, tuple | list) else str(default)


_ENTRY = re.compile(r"^ {4}(?P<names>\w[\w, \n]*?): (?P<text>.*)$")


def argument_help(verb: Callable[..., Any]) -> dict[str, str]:
    """Return what a docstring says of each argument, in plain text.

    An entry "see :class:`...Settings`" or "as of :func:`vtcd_ops.rank`" stands for what is said
    there.

    >>> def verb(size, seed=0):
    ...     '''Do it.
    ...
    ...     Args:
    ...         size: of the *result*, see :func:`numpy.zeros`,
    ...             in ``bytes``.
    ...         seed: of the draw.
    ...     '''
    >>> argument_help(verb)
    {'size': 'Of the *result*, see numpy.zeros, in bytes.', 'seed': 'Of the draw.'}
    """
    text = inspect.getdoc(verb) or ""
    _, _, rest = text.partition("\nArgs:\n")
    section = rest.split("\n\n")[0]
    # a list of names may be broken over lines: join it before it is split into entries
    section = re.sub(r",\n {4}(?=\w)", ", ", section)
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if entry := _ENTRY.match(line):
            names = [name.strip() for name in entry["names"].split(",")]
            found.update(dict.fromkeys(names, entry["text"].strip()))
        else:
            for name in names:
                found[name] = f"{found[name]} {line.strip()}".strip()
    return {name: _plain(_followed(name, text)) for name, text in found.items()}


def _followed(name: str, text: str) -> str:
    """What the class or verb that an entry points to says of an argument; else the entry."""
    reference = re.fullmatch(r"(?:see|as of) :(?:class|func):`([\w.]+)`\.?", text)
    if reference is None:
        return text
    module, _, leaf = reference[1].rpartition(".")
    target = getattr(__import__(module, fromlist=[leaf]), leaf)
    return argument_help(target).get(name, text)


def _plain(text: str) -> str:
    """A sentence without the marks of documentation."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"\1", text)
    text = re.sub(r"`+([^`]*)`+", r"\1", text)
    return text[:1].upper() + text[1:]
