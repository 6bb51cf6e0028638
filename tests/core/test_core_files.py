"""Writing aside, tables, embeddings, messages."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sclamp.core import cli
from sclamp.core.errors import UserError, did_you_mean, nearest, unknown
from sclamp.core.files import (
    provenance_of,
    read_embedding,
    read_table,
    write_embedding,
    write_json,
    write_table,
    written_aside,
)


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(RuntimeError), written_aside(path) as aside:
        aside.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]


def test_a_full_disk_names_the_file(tmp_path):
    with (
        pytest.raises(UserError, match=r"out.txt: the disk is full; nothing was written"),
        written_aside(tmp_path / "out.txt"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_really_full_device_is_reported(tmp_path):
    with pytest.raises(UserError, match="the disk is full"), written_aside(tmp_path / "y") as aside:
        aside.symlink_to("/dev/full")
        with open(aside, "wb", buffering=0) as file:
            file.write(b"data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(UserError, match="no permission to write here"), written_aside(tmp_path / "out.txt") as aside:
        aside.write_text("x", encoding="utf-8")


def test_a_full_disk_is_known_by_its_words(tmp_path):
    with pytest.raises(UserError, match="the disk is full"), written_aside(tmp_path / "out.h5ad"):
        raise RuntimeError("Can't decrement id ref count (errno = 28, error message = 'No space left on device')")


def test_a_file_that_cannot_be_read_is_not_taken_for_the_one_to_be_written(tmp_path):
    other = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/elsewhere/in.h5ad")
    with pytest.raises(PermissionError, match=r"/elsewhere/in\.h5ad"), written_aside(tmp_path / "out.txt"):
        raise other


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "results").touch()
    with pytest.raises(UserError, match=r"results/out.txt: cannot be written \(File exists\)"):
        write_json(tmp_path / "results/out.txt", 1)


def test_the_longest_names_can_be_written(tmp_path):
    for name in ("ä" * 125 + ".json", "x" * 255):
        write_json(tmp_path / name, 1)
        assert (tmp_path / name).read_text(encoding="utf-8") == "1\n"
    with pytest.raises(UserError, match=r"cannot be written \(File name too long\)"):
        write_json(tmp_path / ("x" * 256), 1)


def test_leftovers_of_ended_processes_are_removed_and_those_of_others_kept(tmp_path):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=subprocess.PIPE, check=True)
    host = os.uname().nodename
    names = [
        f".old.json.{host}.{int(ended.stdout)}.tmp",
        f".x.{host}.{os.getppid()}.tmp",
        ".x.elsewhere.1.tmp",
        "a.tmp",
    ]
    for name in names:
        (tmp_path / name).touch()
    write_json(tmp_path / "new.json", 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names[1:], "new.json"])


def test_embedding_survives_with_its_provenance(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    write_embedding(tmp_path / "e.parquet", "cell_id", list("abcd"), values, {"seed": 3})
    ids, found = read_embedding(tmp_path / "e.parquet", "cell_id")
    assert list(ids) == list("abcd")
    np.testing.assert_array_equal(found, values)
    assert provenance_of(read_table(tmp_path / "e.parquet")) == {"seed": 3}


def test_embeddings_of_more_values_than_32_bits_count_are_written_in_pieces(tmp_path):
    values = np.arange(21, dtype=np.float32).reshape(7, 3)
    for name, most in (("whole", 21), ("pieces", 8)):  # pieces of 2 cells
        write_embedding(tmp_path / name, "cell_id", list("abcdefg"), values, {}, most)
        ids, found = read_embedding(tmp_path / name, "cell_id")
        assert list(ids) == list("abcdefg")
        assert np.array_equal(found, values)
    table = read_table(tmp_path / "whole")
    cut = [table["embedding"].slice(first, 2).combine_chunks() for first in range(0, 7, 2)]
    pq.write_table(table.set_column(1, "embedding", pa.chunked_array(cut)), tmp_path / "cut", row_group_size=2)
    assert np.array_equal(read_embedding(tmp_path / "cut", "cell_id")[1], values)


def test_an_embedding_without_rows(tmp_path):
    write_embedding(tmp_path / "e.parquet", "gene_id", [], np.zeros((0, 5)), {})
    ids, found = read_embedding(tmp_path / "e.parquet", "gene_id")
    assert len(ids) == 0
    assert len(found) == 0


def test_equal_tables_have_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_embedding(tmp_path / name, "cell_id", ["x", "y"], np.eye(2), {"seed": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        (["a", "a"], [[1.0], [2.0]], "1 ids of column gene_id occur more than once; the first is 'a'"),
        (["a", "b"], [[1.0], [float("nan")]], "1 vectors hold NaN or infinite values; the first is that of 'b'"),
        (["a", "b"], [[1.0], [1.0, 2.0]], "vectors of unequal length: 'a' has 1 values, 'b' has 2"),
    ],
)
def test_bad_embeddings_are_explained(tmp_path, ids, vectors, message):
    pq.write_table(pa.table({"gene_id": ids, "embedding": vectors}), tmp_path / "e.parquet")
    with pytest.raises(UserError, match=message):
        read_embedding(tmp_path / "e.parquet", "gene_id")


def test_missing_columns_and_files_are_explained(tmp_path):
    pq.write_table(pa.table({"gene": ["a"], "embedding": [[1.0]]}), tmp_path / "e.parquet")
    with pytest.raises(
        UserError, match=r"column 'gene_id' does not exist; did you mean 'gene'\? Known: gene, embedding\."
    ):
        read_embedding(tmp_path / "e.parquet", "gene_id")
    with pytest.raises(UserError, match="no such file"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_table(tmp_path / "cut.parquet")


def test_nearest_names():
    assert nearest("Beta_VEA", ["beta_vae", "pca"]) == "beta_vae"
    assert nearest("zzz", ["beta_vae"]) is None
    assert did_you_mean("pca", ["pca"]) == "."
    assert unknown("mode", "pcaa", ["pca"]) == "mode 'pcaa' does not exist; did you mean 'pca'? Known: pca."


def test_settings_as_json_file_or_yaml(tmp_path):
    write_json(tmp_path / "s.json", {"a": 1})
    (tmp_path / "s.yaml").write_text("a: 1\n", encoding="utf-8")
    assert cli.read_settings('{"a": 1}') == cli.read_settings(str(tmp_path / "s.json")) == {"a": 1}
    assert cli.read_settings(str(tmp_path / "s.yaml")) == {"a": 1}
    with pytest.raises(UserError, match="neither JSON nor an existing file"):
        cli.read_settings("s.yml")
    with pytest.raises(UserError, match="not valid JSON"):
        cli.read_settings("{a: 1")
    (tmp_path / "list.yaml").write_text("- 1\n", encoding="utf-8")
    with pytest.raises(UserError, match="a mapping is expected, found list"):
        cli.read_settings(str(tmp_path / "list.yaml"))


def test_user_errors_end_a_script_without_a_traceback(capsys):
    def fails():
        raise UserError("one", "two")

    with pytest.raises(SystemExit) as caught:
        cli.run(fails)
    assert caught.value.code == 1
    shown = capsys.readouterr().err
    assert "2 problems" in shown
    assert "  - one\n  - two" in shown
    assert "Traceback" not in shown


def test_a_table_whose_columns_have_names_that_are_no_text_is_named(tmp_path):
    write_table(tmp_path / "table.parquet", {"train_loss": [1.0]})
    content = (tmp_path / "table.parquet").read_bytes()
    (tmp_path / "table.parquet").write_bytes(content.replace(b"train_loss", b"train_los\xf2"))
    with pytest.raises(UserError, match=r"table\.parquet: cannot be read as Parquet"):
        read_table(tmp_path / "table.parquet")
