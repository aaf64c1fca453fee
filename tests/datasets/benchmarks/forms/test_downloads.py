"""Each way in which a benchmark's download can be wrong ends in one line that says which."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest
from tests.datasets.benchmarks.benchmark_files import write_eccv16

from vsumdata.datasets.benchmarks import bliss, mrhisum, summe, tvsum, wikihow_summaries
from vsumdata.datasets.benchmarks.forms import downloads
from vsumdata.manifests.errors import UsageError

HTML = b"\n<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not there; get it from"),
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (HTML, "is a web page"),
        (LFS, "is a git-lfs pointer"),
        (b"Rar!\x1a\x07\x00 and so on", "is a RAR archive; unpack it"),
        (b"PK\x03\x04 and so on", "is a ZIP archive"),
        (b"\x1f\x8b\x08 and so on", "is a gzip archive"),
        (b"hello", "is not an HDF5 file|is not JSON|is not a .npy file|is not a MATLAB 5 file"),
    ],
)
@pytest.mark.parametrize("kind", ["tvsum.h5", "summe.h5", "mr_hisum.h5", "annt.json", "x.npy", "x.mat"])
def test_what_is_not_the_file(tmp_path, kind, content, message):
    path = tmp_path / kind
    (tmp_path / "mr_hisum_split.json").write_text('{"train_keys": [], "val_keys": [], "test_keys": ["video_1"]}')
    if content is not None:
        path.write_bytes(content)
    read = {
        "tvsum.h5": tvsum.load,
        "summe.h5": summe.load,
        "mr_hisum.h5": mrhisum.load,
        "annt.json": wikihow_summaries.load,
        "x.npy": lambda path: downloads.read_npy_dict(path, "there"),
        "x.mat": summe.read_mat,
    }[kind]
    with pytest.raises(UsageError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert kind in str(caught.value)


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(UsageError, match="is a folder"):
        downloads.check(tmp_path, "there")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_download_that_stopped_early(tmp_path, share):
    whole = write_eccv16(tmp_path / "whole.h5", 50).read_bytes()
    path = tmp_path / "tvsum.h5"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UsageError, match=r"tvsum.h5 is cut off: the download stopped early"):
        tvsum.load(path)


def test_damage_inside_a_file_of_the_right_length(tmp_path):
    path = tmp_path / "tvsum.h5"
    with h5py.File(write_eccv16(path, 50), "r+") as file:
        del file["video_7/features"]
        file.create_dataset(
            "video_7/features", data=np.ones((5, 8), "f4"), chunks=(5, 8), compression="gzip", fletcher32=True
        )
        at = file["video_7/features"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[at + 4] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"tvsum.h5 cannot be read"):
        tvsum.load(path)


def test_nothing_inside(tmp_path):
    h5py.File(tmp_path / "tvsum.h5", "w").close()
    with pytest.raises(UsageError, match="has no videos inside"):
        tvsum.load(tmp_path / "tvsum.h5")


def test_a_json_file_that_stopped_early(tmp_path):
    (tmp_path / "wikihowto_annt.json").write_text('{"Boil-Eggs": [0, 1, 0')
    with pytest.raises(UsageError, match="is not JSON, or is cut off"):
        wikihow_summaries.load(tmp_path)


class Attack:
    def __reduce__(self):
        return (print, ("this must not run",))


@pytest.mark.parametrize("value", [{"clip": Attack()}, Attack(), {"clip": print}])
def test_a_pickle_that_would_run_code_does_not(tmp_path, capsys, value):
    path = tmp_path / "x.npy"
    np.save(path, np.array(value, dtype=object), allow_pickle=True)
    capsys.readouterr()
    with pytest.raises(UsageError, match="is damaged or holds no arrays"):
        downloads.read_npy_dict(path, "there")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_are_read_as_any_numpy_pickled_them(tmp_path, protocol):
    path, value = tmp_path / "x.npy", {"clip": np.arange(6, dtype=np.float32).reshape(2, 3)}
    np.save(path, np.array(value, dtype=object), allow_pickle=True)
    header = path.read_bytes().index(b"\n") + 1
    body = pickle.dumps(np.array(value, dtype=object), protocol)
    if protocol < 5:  # numpy 1's name of the module; of another length, so only where the pickle has it in text
        body = body.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    path.write_bytes(path.read_bytes()[:header] + body)
    np.testing.assert_array_equal(downloads.read_npy_dict(path, "there")["clip"], value["clip"])


@pytest.mark.parametrize("kept", [20, 130, 200])
def test_a_npy_file_that_stopped_early_or_holds_no_dictionary(tmp_path, kept):
    path = tmp_path / "x.npy"
    np.save(path, np.array({"clip": np.zeros(100)}, dtype=object), allow_pickle=True)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UsageError, match=r"x.npy is damaged"):
        downloads.read_npy_dict(path, "there")
    np.save(path, np.zeros(3))
    with pytest.raises(UsageError, match="holds no dictionary"):
        downloads.read_npy_dict(path, "there")


def test_bliss_without_its_folders(tmp_path):
    with pytest.raises(UsageError, match="has no folder annotation"):
        bliss.load(tmp_path)
    (tmp_path / "annotation").mkdir()
    with pytest.raises(UsageError, match="lacks train.json or test.json"):
        bliss.load(tmp_path)
