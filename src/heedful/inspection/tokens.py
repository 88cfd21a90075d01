"""Tokens as people give them: strings or ids, in one list or in one for each sample of a batch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from heedful._types import Int, Tensor

Token = str | int
TokenInput = Sequence[Token] | Sequence[Sequence[Token]] | Sequence[Tensor] | NDArray[Any] | Int[Tensor, "*B N"]

_RULE = "must be strings or integer ids, in one list or in one for each sample"


class TokenRows(NamedTuple):
    """Tokens of one type, strings or integers.

    Attributes:
        rows: one for each sample.
        batched: whether there was an axis for the samples; otherwise there is one row.
    """

    rows: Sequence[Sequence[Token]]
    batched: bool


def is_row(value: object) -> bool:
    """Whether a value is a list of tokens, and no list of lists."""
    return _is_list(value) and len(value) > 0 and not _is_list(value[0])  # type: ignore[arg-type, index]


def token_rows(location: str, value: Any) -> TokenRows:
    """Tokens as lists of strings or of integers.

    Args:
        location: what the value is called in messages, such as "tokens" or "axes[1]".
        value: a list of strings or ids, one for each sample, or a tensor or array of ids.

    Raises:
        TypeError: an item is something else, or not of the type of those before it.
        ValueError: there is no token, or lists are nested too deep.

    Example:
        >>> token_rows("tokens", ["the", "sky"]).rows, token_rows("tokens", torch.tensor([[7, 8]])).rows
        ([['the', 'sky']], [[7, 8]])
    """
    if isinstance(value, str | bytes):
        raise TypeError(f"`{location}` {_RULE}: got a text, {_described(value)}, which a tokenizer splits into tokens.")
    if not _is_list(value):
        raise TypeError(f"`{location}` {_RULE}: got {_described(value)}.")
    if isinstance(value, Tensor | np.ndarray):
        array = _checked_array(location, value)
        return TokenRows(array.reshape(-1, array.shape[-1]).tolist(), array.ndim > 1)
    if len(value) == 0:
        raise ValueError(f"`{location}` must hold at least one token: got none.")
    if is_row(value):
        return TokenRows([_row(location, value)], False)
    rows = [_row(f"{location}[{index}]", row) for index, row in enumerate(value)]
    for index, row in enumerate(rows):
        if type(row[0]) is not type(rows[0][0]):
            raise TypeError(
                f"`{location}[{index}]` must hold tokens of the type of those before it: got {_described(row[0])}."
            )
    return TokenRows(rows, True)


def numbered(rows: Sequence[Sequence[Token]]) -> tuple[list[list[int]], Mapping[str, int] | None]:
    """Tokens as ids, and the id of each string; None where they were ids."""
    if not isinstance(rows[0][0], str):
        return [[int(token) for token in row] for row in rows], None
    vocabulary: dict[str, int] = {}
    ids = [[vocabulary.setdefault(str(token), len(vocabulary)) for token in row] for row in rows]
    return ids, vocabulary


def separator_ids(separators: Iterable[Token] | None, vocabulary: Mapping[str, int] | None) -> list[int] | None:
    """Separators as ids; strings that occur nowhere are left out.

    Args:
        separators: strings or ids, as the tokens are.
        vocabulary: the id of each token that is a string; None where tokens are ids.

    Raises:
        TypeError: they are not of the type of the tokens.
    """
    if separators is None:
        return None
    separators = [separators] if isinstance(separators, str) else list(separators)
    if not separators:
        return []
    separators = _row("separators", separators)
    if isinstance(separators[0], str) != (vocabulary is not None):
        raise TypeError(f"`separators` must be of the type of `tokens`: got {separators[0]!r}.")
    if vocabulary is None:
        return [int(separator) for separator in separators]
    return [vocabulary[str(separator)] for separator in separators if separator in vocabulary]


def token_ids(
    tokens: TokenInput, separators: Sequence[Token] | None = None
) -> tuple[Int[Tensor, "*B N"], list[int] | None]:
    """Tokens as a tensor of ids, and separators as ids; equal strings get equal ids.

    Raises:
        TypeError: tokens are neither strings nor integers.
        ValueError: lists of several samples are not equally long.
    """
    if isinstance(tokens, Tensor):
        _checked_array("tokens", tokens)
        return tokens, separator_ids(separators, None)
    rows, batched = token_rows("tokens", tokens)
    lengths = dict.fromkeys(len(row) for row in rows)
    if len(lengths) > 1:
        raise ValueError(f"`tokens` must be equally long for all samples: got {', '.join(map(str, lengths))}.")
    ids, vocabulary = numbered(rows)
    return torch.tensor(ids if batched else ids[0]), separator_ids(separators, vocabulary)


def _is_list(value: object) -> bool:
    if isinstance(value, Tensor | np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _checked_array(location: str, value: "Tensor | NDArray[Any]") -> NDArray[Any]:
    if isinstance(value, Tensor):
        readable = not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    else:
        readable = value.dtype.kind in "iuU"  # U: strings
    if not readable:
        raise TypeError(f"`{location}` {_RULE}: got {value.dtype}.")
    if value.ndim == 0 or 0 in value.shape:
        raise ValueError(f"`{location}` must hold at least one token: got shape {list(value.shape)}.")
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _row(location: str, row: Any) -> list[Token]:
    """One list of tokens."""
    if not _is_list(row):
        raise TypeError(f"`{location}` must be a list, as the first one is: got {_described(row)}.")
    if isinstance(row, Tensor | np.ndarray):
        if row.ndim > 1:
            raise ValueError(f"`{location}` {_RULE}: got {_described(row)}.")
        row = _checked_array(location, row).tolist()
    if len(row) == 0:
        raise ValueError(f"`{location}` must hold at least one token: got none.")
    tokens: list[Token] = []
    for index, item in enumerate(row):
        if _is_list(item):
            raise ValueError(
                f"`{location}[{index}]` must be a string or an integer id, lists may be nested once: got {_described(item)}."
            )
        token = _token(item)
        if token is None:
            raise TypeError(f"`{location}[{index}]` must be a string or an integer id: got {_described(item)}.")
        if tokens and type(token) is not type(tokens[0]):
            raise TypeError(f"`{location}[{index}]` must be {_words(tokens[0])}, as those before it: got {token!r}.")
        tokens.append(token)
    return tokens


def _token(item: object) -> Token | None:
    """A string or an integer; None for anything else."""
    if isinstance(item, Tensor) and item.dim() == 0 and not (item.is_floating_point() or item.dtype == torch.bool):
        item = item.item()
    if isinstance(item, str):
        return str(item)
    if isinstance(item, int | np.integer) and not isinstance(item, bool):
        return int(item)
    return None


def _words(token: Token) -> str:
    return "a string" if isinstance(token, str) else "an integer id"


def _described(value: object) -> str:
    if isinstance(value, Tensor | np.ndarray) and value.ndim > 0:
        return f"shape {list(value.shape)}"
    if _is_list(value):
        return f"a {type(value).__name__}"
    words = repr(value)
    return words if len(words) <= 60 else words[:57] + "..."
