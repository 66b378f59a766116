"""Unpacking: whole or not at all, and never outside the folder."""

import io
import lzma
import stat
import tarfile
import zipfile

import pytest

from fetalclip_nb.downloads.unpack import unpack
from fetalclip_nb.errors import DataError

CONTENT = {"top/a.txt": b"a" * 1000, "top/deep/b.bin": bytes(range(256)) * 40}


def make_zip(path, members=CONTENT):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def make_tar(path, members=CONTENT, change=None):
    mode = {".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if change:
                change(info)
            archive.addfile(info, io.BytesIO(content))
    return path


def left_behind(tmp_path):
    return sorted(p.name for p in tmp_path.iterdir())


@pytest.mark.parametrize("name", ["x.zip", "x.ZIP", "x.tar", "x.tar.gz", "x.tgz", "x.tar.xz"])
def test_unpacks_every_kind_byte_for_byte(tmp_path, name):
    make = make_zip if name.lower().endswith(".zip") else make_tar
    folder = unpack(make(tmp_path / name), tmp_path / "out")
    found = {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
    assert found == CONTENT
    assert left_behind(tmp_path) == sorted([name, "out"])


def test_folder_is_readable_by_others(tmp_path):
    folder = unpack(make_zip(tmp_path / "x.zip"), tmp_path / "out")
    assert stat.S_IMODE(folder.stat().st_mode) & 0o055 == 0o055


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/evil.txt", "top/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"]
)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_member_that_would_leave_the_folder_is_refused(tmp_path, make, name):
    box = tmp_path / "box"
    box.mkdir()
    archive = make(box / ("x.zip" if make is make_zip else "x.tar"), {"ok.txt": b"1", name: b"2"})
    with pytest.raises(DataError, match=r"would leave the folder.*x\.(zip|tar).*evil"):
        unpack(archive, box / "out")
    assert left_behind(box) == [archive.name]
    assert left_behind(tmp_path) == ["box"]


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.FIFOTYPE, "device"),
        (tarfile.CHRTYPE, "device"),
    ],
)
def test_links_and_devices_in_tar_are_refused(tmp_path, kind, word):
    def change(info):
        info.type, info.linkname, info.size = kind, "/etc/passwd", 0

    archive = make_tar(tmp_path / "x.tar", {"ok": b""}, change)
    with pytest.raises(DataError, match=f"member is a {word}"):
        unpack(archive, tmp_path / "out")
    assert left_behind(tmp_path) == ["x.tar"]


def test_link_in_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("sneaky")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="member is a link"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_total_over_the_limit_is_refused_and_removed(tmp_path, make):
    archive = make(tmp_path / ("x.zip" if make is make_zip else "x.tar"))
    total = sum(map(len, CONTENT.values()))
    with pytest.raises(DataError, match=rf"more than is allowed.*over {total - 1} bytes"):
        unpack(archive, tmp_path / "out", max_bytes=total - 1)
    assert left_behind(tmp_path) == [archive.name]
    assert unpack(archive, tmp_path / "out", max_bytes=total).is_dir()


def test_default_limit_stops_a_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr("fetalclip_nb.downloads.unpack.SLACK_BYTES", 0)
    archive = make_zip(tmp_path / "x.zip", {"zeros": bytes(2_000_000)})
    assert archive.stat().st_size < 3000
    with pytest.raises(DataError, match="more than is allowed"):
        unpack(archive, tmp_path / "out")


def test_member_may_not_overwrite_another(tmp_path):
    archive = tmp_path / "x.tar"
    with tarfile.open(archive, "w") as opened:
        for content in (b"first", b"second"):
            info = tarfile.TarInfo("same.txt")
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    with pytest.raises(DataError, match=r"cannot be unpacked.*FileExistsError"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.tar.xz", "x.tar"])
def test_truncated_archive_is_one_error(tmp_path, name):
    make = make_zip if name.endswith(".zip") else make_tar
    noise = {"a": bytes(i * i % 251 for i in range(50_000))}
    archive = make(tmp_path / name, noise)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cannot be unpacked.*download it again"):
        unpack(archive, tmp_path / "out")
    assert left_behind(tmp_path) == [name]


def test_flipped_bit_in_zip_is_noticed(tmp_path):
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("a", b"abc" * 1000)
    content = bytearray(archive.read_bytes())
    content[500] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"BadZipFile.*CRC"):
        unpack(archive, tmp_path / "out")


def test_text_that_pretends_to_be_an_archive(tmp_path):
    (tmp_path / "x.tar.xz").write_bytes(lzma.compress(b"no tar inside"))
    (tmp_path / "x.zip").write_text("no zip")
    for name in ("x.tar.xz", "x.zip"):
        with pytest.raises(DataError, match="cannot be unpacked"):
            unpack(tmp_path / name, tmp_path / "out")


def test_folder_in_use_is_left_alone(tmp_path):
    mine = tmp_path / "out" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    with pytest.raises(DataError, match="in use"):
        unpack(make_zip(tmp_path / "x.zip"), tmp_path / "out")
    assert mine.read_text() == "precious"
    mine.unlink()
    assert (unpack(tmp_path / "x.zip", tmp_path / "out") / "top/a.txt").is_file()


def test_missing_archive_and_unknown_kind(tmp_path):
    with pytest.raises(DataError, match="missing"):
        unpack(tmp_path / "none.zip", tmp_path / "out")
    (tmp_path / "x.rar").write_bytes(b"Rar!")
    with pytest.raises(DataError, match=r"Expected: \.zip"):
        unpack(tmp_path / "x.rar", tmp_path / "out")
