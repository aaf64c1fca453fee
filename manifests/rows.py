"""Rows (dicts of Python values and numpy arrays) to Arrow tables and back, with the columns checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vsumdata.pipeline.errors import SchemaError


def to_table(schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows as one Arrow table; raises SchemaError on a missing, an unknown or a wrongly typed column.

    `pa.Table.from_pylist` would drop unknown keys and null missing ones without a word.
    """
    columns = []
    for row in rows:
        if row.keys() != set(schema.names):
            raise SchemaError(
                f"{row.get('video_id')}: missing columns {sorted(set(schema.names) - row.keys())}, "
                f"unknown columns {sorted(row.keys() - set(schema.names))}"
            )
    for field in schema:
        try:
            columns.append(to_array([row[field.name] for row in rows], field.type))
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise SchemaError(f"column `{field.name}` must be {field.type}: {error}") from error
    return pa.Table.from_arrays(columns, schema=schema)


def to_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """One column. Lists of vectors come as arrays [n, dim], vectors as [dim], either may be None."""
    if pa.types.is_list(kind) and pa.types.is_fixed_size_list(kind.value_type):
        dim = kind.value_type.list_size
        arrays = [as_vectors(value, dim) for value in values]
        flat = np.concatenate(arrays).ravel() if arrays else np.empty(0, np.float16)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float16()), type=kind.value_type)
        offsets = np.cumsum([0] + [len(array) for array in arrays], dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), vectors, type=kind, mask=null_mask(values))
    if pa.types.is_fixed_size_list(kind):
        flat = np.concatenate([as_vectors(None if v is None else [v], kind.list_size, fill=1) for v in values]).ravel()
        return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float16()), type=kind, mask=null_mask(values))
    if pa.types.is_map(kind):
        return pa.array([None if v is None else sorted(v.items()) for v in values], kind)
    return pa.array(values, kind)


def as_vectors(value: Any, dim: int, fill: int = 0) -> np.ndarray:
    """[n, dim] float16; a null takes the place of `fill` zero vectors."""
    if value is None:
        return np.zeros((fill, dim), np.float16)
    array = np.asarray(value, dtype=np.float16)
    if array.size == 0:
        return np.zeros((0, dim), np.float16)
    if array.ndim != 2 or array.shape[1] != dim:
        raise ValueError(f"expected vectors [n, {dim}], got an array {list(array.shape)}")
    return array


def null_mask(values: Sequence[Any]) -> pa.Array:
    return pa.array([value is None for value in values], pa.bool_())


def to_rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows back: numeric lists as numpy arrays, lists of vectors as float16 [n, dim], maps as dicts."""
    columns = {name: to_values(table[name].combine_chunks(), table[name].type) for name in table.column_names}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def to_values(column: pa.Array, kind: pa.DataType) -> list[Any]:
    if isinstance(column, pa.ChunkedArray):  # an empty table has no chunk to combine
        return []
    if pa.types.is_map(kind):
        return [None if value is None else dict(value) for value in column.to_pylist()]
    if pa.types.is_list(kind) and pa.types.is_fixed_size_list(kind.value_type):
        dim = kind.value_type.list_size
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
    return values.to_numpy(zero_copy_only=False)


def digests(payload: Mapping[str, Any]) -> dict[str, str]:
    """Hash of each value that is not null: what `upstream` compares, so that no payload is read for it."""
    return {name: digest(value) for name, value in payload.items() if value is not None}


def digest(value: Any) -> str:
    hasher = hashlib.blake2b(digest_size=8)
    if isinstance(value, np.ndarray):
        hasher.update(f"{value.dtype}{value.shape}".encode())
        hasher.update(np.ascontiguousarray(value).data)
    elif isinstance(value, bytes):
        hasher.update(value)
    else:
        hasher.update(json.dumps(value, ensure_ascii=False, sort_keys=True, default=str).encode())
    return hasher.hexdigest()


def combined(digests: Sequence[pa.ChunkedArray], num_rows: int) -> pa.Array:
    """One hash of several digests, row by row, in order; a null counts."""
    texts = [""] * num_rows
    if digests:
        texts = pc.binary_join_element_wise(*digests, " ", null_handling="replace", null_replacement="-").to_pylist()
    return pa.array([hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in texts], pa.string())
