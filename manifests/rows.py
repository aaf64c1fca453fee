"""Convert rows (dicts of Python values and numpy arrays) to Arrow tables and back, and check the columns."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vsumdata.manifests.errors import SchemaError


def to_table(schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows as one Arrow table. Raises SchemaError on a missing, unknown or wrongly typed column."""
    columns = []
    # `pa.Table.from_pylist` silently drops unknown keys and fills missing ones with null (seen with pyarrow 26):
    # a misspelt column would lose its data.
    for row in rows:
        if row.keys() != set(schema.names):
            raise SchemaError(
                f"{row.get('video_id')}: missing columns {sorted(set(schema.names) - row.keys())}, "
                f"unknown columns {sorted(row.keys() - set(schema.names))}"
            )
    for field in schema:
        try:
            columns.append(column_of([row[field.name] for row in rows], field.type))
        # OverflowError: an integer of more than 64 bits.
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise SchemaError(f"column `{field.name}` must be {field.type}: {error}") from error
    return pa.Table.from_arrays(columns, schema=schema)


def column_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """One column of type `kind`, with lone surrogates replaced by `?`."""
    # JSON can spell half of a character (\ud800), UTF-8 cannot hold it. One in a title or an error's text would
    # otherwise stop the whole run.
    try:
        return to_array(values, kind)
    except UnicodeEncodeError:
        return to_array(whole(values), kind)


def whole(value: Any) -> Any:
    """The value with `?` for each lone surrogate in its texts."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {whole(key): whole(part) for key, part in value.items()}
    return [whole(part) for part in value] if isinstance(value, list | tuple) else value


def to_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """One column of type `kind`. A list of vectors is an array [n, dim], a vector is [dim]; both may be None."""
    # pyarrow refuses 2-D arrays ("can only convert 1-dimensional array values"), so vectors are built from flat
    # values and offsets.
    if pa.types.is_list(kind) and pa.types.is_fixed_size_list(kind.value_type):
        dim = kind.value_type.list_size
        arrays = [as_vectors(value, dim) for value in values]
        flat = np.concatenate(arrays).ravel() if arrays else np.empty(0, np.float16)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float16()), type=kind.value_type)
        offsets = np.cumsum([0] + [len(array) for array in arrays], dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), vectors, type=kind, mask=null_mask(values))
    if pa.types.is_fixed_size_list(kind):
        # A null in a fixed-size list still occupies its place in the values, hence `fill`.
        flat = np.concatenate([as_vectors(None if v is None else [v], kind.list_size, fill=1) for v in values]).ravel()
        return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float16()), type=kind, mask=null_mask(values))
    if pa.types.is_struct(kind):
        # pyarrow drops keys that are no field of the struct (seen with pyarrow 26).
        unknown = {key for value in values if value is not None for key in value} - {field.name for field in kind}
        if unknown:
            raise ValueError(f"unknown fields {sorted(unknown)}")
    return pa.array(values, kind)


def as_vectors(value: Any, dim: int, fill: int = 0) -> np.ndarray:
    """float16 [n, dim]; None gives `fill` zero vectors. Raises ValueError for another shape."""
    if value is None:
        return np.zeros((fill, dim), np.float16)
    array = np.asarray(value, dtype=np.float16)
    # An empty Python list becomes an array [0], without the second axis.
    if array.size == 0:
        return np.zeros((0, dim), np.float16)
    if array.ndim != 2 or array.shape[1] != dim:
        raise ValueError(f"expected vectors [n, {dim}], got an array {list(array.shape)}")
    return array


def null_mask(values: Sequence[Any]) -> pa.Array:
    return pa.array([value is None for value in values], pa.bool_())


def clean_text(text: str) -> str:
    """The text with `?` for each lone surrogate, which JSON can hold and neither Arrow nor UTF-8 can."""
    return text.encode("utf-8", "replace").decode()


def text_or_none(value: Any) -> str | None:
    """A text that Arrow takes; None for an empty one and for any other value."""
    return clean_text(value) if isinstance(value, str) and value else None


def number_or_none(value: Any) -> float | None:
    """A finite number; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    # A whole number in JSON can be larger than any float.
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def count_or_none(value: Any) -> int | None:
    """A count that an int64 column takes; None for any other value."""
    number = number_or_none(value)
    return None if number is None or number < 0 or number >= 2**63 else int(value)


def to_rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table: numeric lists as numpy arrays, lists of vectors as float16 [n, dim]."""
    columns = {name: to_values(table[name].combine_chunks(), table[name].type) for name in table.column_names}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def to_values(column: pa.Array, kind: pa.DataType) -> list[Any]:
    """The values of one column, see `to_rows`."""
    # A column of an empty table can have no chunk to combine.
    if isinstance(column, pa.ChunkedArray):
        return []
    if pa.types.is_list(kind) and pa.types.is_fixed_size_list(kind.value_type):
        dim = kind.value_type.list_size
        # `flatten`, not `values`: a fixed-size list's `values` ignores the slice and gives all rows' vectors.
        return [
            None if not scalar.is_valid else numpy_of(scalar.values.flatten()).reshape(-1, dim) for scalar in column
        ]
    if is_numeric_list(kind):
        return [numpy_of(scalar.values) if scalar.is_valid else None for scalar in column]
    return column.to_pylist()


def is_numeric_list(kind: pa.DataType) -> bool:
    return (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)) and (
        pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)
    )


def numpy_of(values: pa.Array) -> np.ndarray:
    """The values as a numpy array."""
    # Values with a null inside cannot share Arrow's memory; by default pyarrow raises for them.
    return values.to_numpy(zero_copy_only=False)


def digests(payload: Mapping[str, Any]) -> dict[str, str]:
    """Column -> hash of its value, for values that are not null.

    A run compares these in `upstream`, so it finds what changed without reading gigabytes of features.
    """
    return {name: digest(value) for name, value in payload.items() if value is not None}


def digest(value: Any) -> str:
    """Hash of one value, 16 hex digits, the same on every machine."""
    hasher = hashlib.blake2b(digest_size=8)
    if isinstance(value, np.ndarray):
        # The bytes alone do not tell [2, 8] from [4, 4], or float16 from int16.
        hasher.update(f"{value.dtype}{value.shape}".encode())
        hasher.update(np.ascontiguousarray(value).data)
    elif isinstance(value, bytes):
        hasher.update(value)
    else:
        # "replace", as `column_of` stores it.
        hasher.update(json.dumps(value, ensure_ascii=False, sort_keys=True, default=str).encode("utf-8", "replace"))
    return hasher.hexdigest()


def combined(digests: Sequence[pa.ChunkedArray], num_rows: int) -> pa.Array:
    """One hash of several digest columns, row by row, in order. A null counts as a value of its own."""
    texts = [""] * num_rows
    if digests:
        # Joined in Arrow: a Python loop over the columns of 100,000 videos is slow. By default one null makes the
        # whole row null.
        texts = pc.binary_join_element_wise(*digests, " ", null_handling="replace", null_replacement="-").to_pylist()
    return pa.array([hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in texts], pa.string())
