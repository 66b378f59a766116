"""Unpacking: whole or not at all, and never outside the folder."""

import io
import lzma
import stat
import tarfile
import tracemalloc
import zipfile

import pytest

from fetalclip_nb.downloads import unpack
from fetalclip_nb.errors import DataError

CONTENT = {"top/a.txt": b"a" * 1000, "top/deep/b.bin": bytes(range(256)) * 40}


def make_archive(path, members=CONTENT, change=None):
    """A zip or tar, by its name; ``change`` is given each header of a tar."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    mode = {".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if change:
                change(info)
            archive.addfile(info, io.BytesIO(content))
    return path


def refused(archive, message):
    """No data set is made of the archive, and nothing else is left beside it."""
    with pytest.raises(DataError, match=message):
        unpack.lay_out([archive], {"top": "*"}, archive.parent / "out")
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]


@pytest.mark.parametrize("name", ["x.zip", "x.ZIP", "x.tar", "x.tar.gz", "x.tgz", "x.tar.xz"])
def test_unpacks_every_kind_byte_for_byte(tmp_path, name):
    folder = tmp_path / "out"
    unpack.lay_out([make_archive(tmp_path / name)], {"top": "a.txt"}, folder)
    found = {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
    assert found == CONTENT
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "out"])
    assert stat.S_IMODE(folder.stat().st_mode) & 0o055 == 0o055  # readable by others


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/evil.txt", "top/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"]
)
@pytest.mark.parametrize("kind", ["x.zip", "x.tar"])
def test_member_that_would_leave_the_folder_is_refused(tmp_path, kind, name):
    box = tmp_path / "box"
    box.mkdir()
    archive = make_archive(box / kind, {"ok.txt": b"1", name: b"2"})
    refused(archive, r"would leave the folder.*x\.(zip|tar).*evil")
    assert [path.name for path in tmp_path.iterdir()] == ["box"]


@pytest.mark.parametrize("target", ["/etc/passwd", "ok"])
@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_in_tar_are_refused(tmp_path, kind, target):
    def change(info):
        info.type, info.linkname, info.size = kind, target, 0

    archive = make_archive(tmp_path / "x.tar", {"sneaky": b""}, change)
    refused(archive, "member is a link or device.*sneaky")


def test_link_in_zip_becomes_a_plain_file(tmp_path):
    info = zipfile.ZipInfo("sneaky")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as opened:
        opened.writestr(info, "/etc/passwd")
    unpack.unpack(tmp_path / "x.zip", tmp_path / "out")
    made = tmp_path / "out" / "sneaky"
    assert not made.is_symlink() and made.read_text() == "/etc/passwd"


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.tar.xz"])
@pytest.mark.parametrize(
    "bomb", [{"zeros": bytes(2_000_000)}, {f"{i}": b"" for i in range(3000)}], ids=["big", "many"]
)
def test_bomb_is_refused(tmp_path, monkeypatch, name, bomb):
    archive = make_archive(tmp_path / name, bomb)
    total = sum(max(len(content), 4096) for content in bomb.values())
    slack = total - unpack.MAX_RATIO * archive.stat().st_size
    monkeypatch.setattr(unpack, "SLACK_BYTES", slack - 1)
    refused(archive, f"more than is allowed.*over {total - 1} bytes")
    monkeypatch.setattr(unpack, "SLACK_BYTES", slack)
    unpack.unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("first", [True, False])
def test_long_names_and_headers_of_a_tar_are_not_read(tmp_path, kind, first):
    archive = tmp_path / "x.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as opened:
        if not first:
            opened.addfile(tarfile.TarInfo("ok"))
        info = tarfile.TarInfo("header")
        info.type, info.size = kind, 20_000_000
        opened.addfile(info, io.BytesIO(b"a" * info.size))
        opened.addfile(tarfile.TarInfo("member"))
    tracemalloc.start()
    try:
        refused(archive, "cannot be unpacked.*a header of more than a megabyte")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_member_without_a_name_in_zip_is_refused(tmp_path):
    archive = make_archive(tmp_path / "x.zip", {"ok": b"", "#": b"1"})
    archive.write_bytes(archive.read_bytes().replace(b"#", b"\0"))
    refused(archive, "leave the folder.*''")


def announce_less(content):
    return content.replace((50_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))


def flip_a_bit(content):
    return content[:500] + bytes([content[500] ^ 1]) + content[501:]


def cut(content):
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("x.zip", announce_less, "Found: .*(CRC|[Oo]verlapped)"),
        ("x.zip", flip_a_bit, "CRC|Error"),
        *((name, cut, "download it") for name in ("x.zip", "x.tar.gz", "x.tar.xz", "x.tar")),
        ("x.tar.xz", lambda _: lzma.compress(b"no tar inside"), "truncated"),
        ("x.zip", lambda _: b"no zip", "not a zip file"),
    ],
)
def test_damaged_archive_is_one_error(tmp_path, name, damage, message):
    archive = make_archive(tmp_path / name, {"a": bytes(i * i % 251 for i in range(50_000))})
    archive.write_bytes(damage(archive.read_bytes()))
    refused(archive, f"cannot be unpacked.*({message})")
