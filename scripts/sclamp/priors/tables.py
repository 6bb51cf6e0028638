"""Reading tables that users give: TSV, CSV (also gzipped) or Parquet; every way they can be broken has its message."""

from __future__ import annotations

import contextlib
import json
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sclamp.core.errors import UserError, unknown
from sclamp.priors.names import text_column

SEPARATORS = {".tsv": "\t", ".txt": "\t", ".tab": "\t", ".csv": ","}
PARQUET = {".parquet", ".pq"}


def suffix(path: str | Path) -> str:
    """The extension that says what is inside a file: lower case, without .gz."""
    return Path(str(path).lower().removesuffix(".gz")).suffix


@contextlib.contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """Turn everything that a missing, foreign or damaged table can raise into a `UserError` that names the file."""
    import pandas as pd
    import pyarrow as pa

    if not Path(path).is_file():
        raise UserError(f"{path}: no such file.")
    if suffix(path) not in {*SEPARATORS, *PARQUET}:
        known = "expected .tsv, .csv (or these with .gz) or .parquet"
        raise UserError(f"{path}: the extension '{suffix(path)}' is not that of a table; {known}.")
    try:
        yield
    except (
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        pd.errors.ParserWarning,
        UnicodeDecodeError,
        pa.ArrowException,
    ) as error:
        raise UserError(f"{path}: cannot be read as a table ({str(error).strip()}).") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: damaged or truncated ({error}).") from error


def read_frame(path: str | Path, text: tuple[str, ...] = (), only: tuple[str, ...] | None = None) -> Any:
    """Read a table with a header as a pandas DataFrame.

    text: columns whose values are taken as they stand (a gene may be called "NA" or "1"). only: columns that are read
    where the table has them; None reads all.
    """
    import pandas as pd

    with _readable(path):
        if suffix(path) in PARQUET:
            import pyarrow.parquet as pq

            columns = None if only is None else [name for name in pq.read_schema(path).names if name in only]
            table = pq.read_table(path, columns=columns, page_checksum_verification=True)
            return table.to_pandas(ignore_metadata=True)  # an index stays a column
        with warnings.catch_warnings():  # rows longer than the header are an error, not row names
            warnings.simplefilter("error", pd.errors.ParserWarning)
            separator, types = SEPARATORS[suffix(path)], dict.fromkeys(text, str)
            return pd.read_csv(
                path, sep=separator, converters=types, index_col=False, low_memory=False,
                usecols=None if only is None else lambda name: name in only,
            )  # fmt: skip


def read_texts(path: str | Path) -> dict[str, str]:
    """Read a JSON of gene -> description; genes with an empty one are left out."""
    try:
        value: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}).") from error
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise UserError(f"{path}: a JSON object of gene -> description is expected.")
    texts = {gene.strip(): text.strip() for gene, text in value.items() if gene.strip() and text.strip()}
    if not texts:
        raise UserError(f"{path}: holds no genes.")
    return texts


def read_header(path: str | Path) -> list[str]:
    """Names of a table's columns, without its rows."""
    import pandas as pd

    with _readable(path):
        if suffix(path) in PARQUET:
            import pyarrow.parquet as pq

            return list(pq.read_schema(path).names)
        return list(map(str, pd.read_csv(path, sep=SEPARATORS[suffix(path)], nrows=0, index_col=False).columns))


def need_columns(path: str | Path, known: list[str], columns: dict[str, str]) -> None:
    """Check that the columns (key of the settings -> column) are among the known; names all that are missing."""
    missing = {key: column for key, column in columns.items() if column not in known}
    if missing:
        raise UserError(*(f"{path}: " + unknown(f"{key}: column", column, known) for key, column in missing.items()))


def read_pairs(path: str | Path, first: str, second: str) -> list[tuple[str, str]]:
    """Read two columns of names: those called `first` and `second` where the table has them, else its first two.

    A header is not required; rows with a gap are left out.
    """
    import pandas as pd

    with _readable(path):
        if suffix(path) in PARQUET:
            frame = read_frame(path)
            columns = [[str(name), *text_column(frame[name])] for name in frame.columns]
            table = pd.DataFrame(dict(enumerate(columns)))
        else:
            table = pd.read_csv(path, sep=SEPARATORS[suffix(path)], header=None, dtype=str, keep_default_na=False)
    if table.shape[1] < 2:
        raise UserError(f"{path}: {table.shape[1]} column, two are expected: {first}, {second} (.tsv or .csv).")
    heads = [str(value).strip().lower() for value in table.iloc[0]]
    chosen = [0, 1]
    if {first, second} <= set(heads):
        chosen, table = [heads.index(first), heads.index(second)], table.iloc[1:]
    left, right = (table[column].str.strip() for column in chosen)
    return [(a, b) for a, b in zip(left, right, strict=True) if a and b]
