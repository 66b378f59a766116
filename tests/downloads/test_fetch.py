"""Downloads against a local server: what goes wrong on a real line goes wrong here."""

import gzip
import hashlib
import http.server
import io
import logging
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import helpers
from fetalclip_nb.data.kinds import load_dataset
from fetalclip_nb.downloads.fetch import (
    __name__,
    fetch,
    prepare_dataset,
    require_not_lfs_pointer,
)
from fetalclip_nb.downloads.registry import Entry, RemoteFile, file_hash, registered, registry
from fetalclip_nb.errors import DataError, DownloadError

CONTENT = bytes(i * i % 251 for i in range(300_000))
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:90916caa408baf9374ee3f8c1533463331a4ace37a13e61385e782905b35c310\n"
    b"size 1710766661\n"
)


@dataclass
class Server:
    """What the server sends, and what it was asked for."""

    url: str = ""
    content: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    status: int = 0  # answer with this error
    cut_at: int = 0  # close the line after so many bytes of each answer
    ranges: bool = True  # honour Range
    pause: threading.Event | None = None  # wait here before the second half
    redirect: dict[str, str] = field(default_factory=dict)
    answer: bytes = b""  # this in place of all that


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers from `Server`, with Range support and faults on demand."""

    plan: Server

    def do_GET(self):
        asked = self.headers.get("Range", "")
        self.plan.requests.append((self.path, asked))
        if self.plan.answer:
            self.wfile.write(self.plan.answer)
            return
        if self.path in self.plan.redirect:
            self.send_response(302)
            self.send_header("Location", self.plan.redirect[self.path])
            self.end_headers()
            return
        content = self.plan.content.get(self.path)
        start = int(asked[6:-1]) if asked and self.plan.ranges else 0
        status = self.plan.status or (404 if content is None else 206 if start else 200)
        if status < 400 and start >= len(content):
            status = 416
        body = content[start:] if status < 400 else b"no"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.plan.pause:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.plan.pause.wait(10)
            body = body[len(body) // 2 :]
        self.wfile.write(body[: self.plan.cut_at] if self.plan.cut_at else body)

    def log_message(self, *_):
        """Say nothing."""


class QuietServer(http.server.ThreadingHTTPServer):
    """A client that hangs up is expected here."""

    def handle_error(self, *_):
        """Say nothing."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    plan = Server()
    handler = type("BoundHandler", (Handler,), {"plan": plan})
    with QuietServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        plan.url = f"http://127.0.0.1:{running.server_port}"
        yield plan
        running.shutdown()


def entry_of(name, files, **layout):
    facts = dict.fromkeys(("title", "licence", "citation", "citation_doi", "page"), "some")
    return Entry(name=name, kind="model", files=tuple(files), layout=layout, **facts)


def remote(path, content=CONTENT, **changes):
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    file = RemoteFile(path, f"https://example.org/files/{path}", len(content), digest, "measured")
    return replace(file, **changes)


@pytest.fixture
def register(monkeypatch):
    """Registers these files as "thing"."""
    return lambda *files: monkeypatch.setitem(registry(), "thing", entry_of("thing", files))


@pytest.fixture
def thing(server, register, tmp_path):
    """A registered file of 300,000 bytes that the server has."""
    server.content["/files/thing.bin"] = CONTENT
    register(remote("thing.bin"))
    return tmp_path / "models" / "thing.bin"


def get(server, target, **options):
    return fetch("thing", target.parent, base_url=server.url, **options)


def visible(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_a_file_is_fetched_once(server, thing):
    assert get(server, thing) == get(server, thing) == thing
    assert thing.read_bytes() == CONTENT
    assert visible(thing.parent) == ["thing.bin"]
    assert len(server.requests) == 1


def test_broken_line_leaves_no_file_and_the_next_call_goes_on(server, thing):
    server.cut_at = 100_000
    with pytest.raises(DownloadError, match=r"broke off.*IncompleteRead.*goes on from there"):
        get(server, thing)
    assert visible(thing.parent) == ["thing.bin.part"]
    done = thing.with_name("thing.bin.part").stat().st_size
    assert 0 < done <= 100_000
    server.cut_at = 0
    assert get(server, thing).read_bytes() == CONTENT
    assert server.requests[-1] == ("/files/thing.bin", f"bytes={done}-")
    assert visible(thing.parent) == ["thing.bin"]


def test_server_without_ranges_starts_over(server, thing):
    server.cut_at = 100_000
    with pytest.raises(DownloadError):
        get(server, thing)
    server.cut_at, server.ranges = 0, False
    assert get(server, thing).read_bytes() == CONTENT


def test_redirect_keeps_the_range(server, thing):
    server.content["/cdn"] = CONTENT
    server.redirect["/files/thing.bin"] = "/cdn"
    thing.parent.mkdir()
    thing.with_name("thing.bin.part").write_bytes(CONTENT[:5000])
    assert get(server, thing).read_bytes() == CONTENT
    assert server.requests[-1] == ("/cdn", "bytes=5000-")


def test_finished_part_needs_no_request(server, thing):
    thing.parent.mkdir()
    thing.with_name("thing.bin.part").write_bytes(CONTENT)
    assert get(server, thing).read_bytes() == CONTENT
    assert server.requests == []


def test_part_of_an_unhashed_or_longer_file_is_not_trusted(server, thing, register):
    thing.parent.mkdir()
    thing.with_name("thing.bin.part").write_bytes(CONTENT + b"more")
    assert get(server, thing).read_bytes() == CONTENT
    thing.unlink()
    register(remote("thing.bin", bytes=None, hash="", hash_source=""))
    thing.with_name("thing.bin.part").write_bytes(b"stale")
    assert get(server, thing).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["", ""]


def test_killed_process_leaves_no_file_and_the_next_call_goes_on(server, thing):
    server.pause = threading.Event()
    code = (
        "import sys, test_fetch as t\n"
        "t.registry()['thing'] = t.entry_of('thing', [t.remote('thing.bin')])\n"
        "t.fetch('thing', sys.argv[1], base_url=sys.argv[2])\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), os.environ["PYTHONPATH"]])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, thing.parent, server.url]
    with subprocess.Popen(command, env=environment) as process:
        part = thing.with_name("thing.bin.part")
        for _ in range(1500):
            if process.poll() is not None or (part.exists() and part.stat().st_size):
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert visible(thing.parent) == ["thing.bin.part"]
    done = part.stat().st_size
    assert 0 < done < len(CONTENT)
    server.pause.set()
    server.pause = None
    assert get(server, thing).read_bytes() == CONTENT
    assert server.requests[-1] == ("/files/thing.bin", f"bytes={done}-")


def test_wrong_hash_names_both_and_can_be_overridden(server, thing):
    other = CONTENT[::-1]
    server.content["/files/thing.bin"] = other
    with pytest.raises(DownloadError, match=r"not the registered one.*accept_hash") as caught:
        get(server, thing)
    for content in (CONTENT, other):
        assert hashlib.sha256(content).hexdigest() in str(caught.value)
    assert not thing.exists()
    assert get(server, thing, accept_hash_mismatch=True).read_bytes() == other
    assert len(server.requests) == 1  # the rejected file itself was taken
    thing.unlink()
    assert get(server, thing, accept_hash_mismatch=True).read_bytes() == other
    with pytest.raises(DownloadError, match="not the registered one"):
        get(server, thing)
    assert thing.read_bytes() == other


@pytest.mark.parametrize(
    ("changes", "sent", "message"),
    [
        ({"hash_source": "third party"}, 200, r"300000 bytes.*\(third party.*Found: 200 bytes"),
        ({"hash": "", "hash_source": ""}, 299_999, "Expected: 300000 bytes.*Found: 299999 bytes"),
    ],
)
def test_wrong_size_is_named(server, thing, register, changes, sent, message):
    """Facts of a third party are called so, and size counts where no hash is known."""
    register(remote("thing.bin", **changes))
    server.content["/files/thing.bin"] = CONTENT[:sent]
    with pytest.raises(DownloadError, match=message):
        get(server, thing)
    assert visible(thing.parent) == ["thing.bin.rejected"]


def test_file_of_known_hash_and_unknown_size(server, thing, register):
    register(remote("thing.bin", bytes=None))
    server.cut_at = 200_000
    # What came cannot be told from a whole file without its size: it starts anew, and says so.
    with pytest.raises(DownloadError, match=r"broke off.*What to do: run it again\.$"):
        get(server, thing)
    server.cut_at = 0
    assert get(server, thing).read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["", ""]
    server.content["/files/thing.bin"] = b"else"
    thing.unlink()
    with pytest.raises(DownloadError, match=r"Expected: any number of bytes sha256:"):
        get(server, thing)


def test_damaged_file_on_disk_is_refused_before_use(server, thing):
    get(server, thing)
    thing.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(DownloadError, match=r"not the registered one.*delete it"):
        get(server, thing)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + 100 * (
    b"186a0\r\n" + bytes(100_000) + b"\r\n"
)
ZIPPED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(10_000_000))
LONG = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(10_000_000)


@pytest.mark.parametrize("answer", [CHUNKED, ZIPPED, LONG], ids=["chunks", "gzip", "plain"])
@pytest.mark.parametrize("known", [True, False])
def test_more_than_a_file_has_is_not_taken(server, thing, register, monkeypatch, answer, known):
    if not known:
        monkeypatch.setattr("fetalclip_nb.downloads.transfer.MAX_BYTES", len(CONTENT))
        register(remote("thing.bin", bytes=None, hash="", hash_source=""))
    server.answer = answer
    with pytest.raises(DownloadError, match=r"thing\.bin\. Found: more than 300000 bytes"):
        get(server, thing)
    assert thing.with_name("thing.bin.part").stat().st_size < 400_000
    server.answer = b""
    assert get(server, thing).read_bytes() == CONTENT


def test_longer_file_is_taken_where_its_user_trusts_it(server, thing):
    server.content["/files/thing.bin"] = CONTENT * 2
    assert get(server, thing, accept_hash_mismatch=True).read_bytes() == CONTENT * 2


def test_answer_with_a_broken_header_is_one_error(server, thing):
    server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: twelve\r\n\r\nabc"
    with pytest.raises(DownloadError, match=r"not the registered one.*Found: 3 bytes"):
        get(server, thing)


@pytest.mark.parametrize("whole", [True, False])
def test_weights_without_a_hash_are_a_whole_archive(server, register, tmp_path, whole):
    target, data = tmp_path / "models" / "w.pt", io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("data.pkl", bytes(2000))
    content = data.getvalue() if whole else data.getvalue()[:1000]
    register(remote("w.pt", content, bytes=None, hash="", hash_source=""))
    server.content["/files/w.pt"] = content
    if whole:
        assert get(server, target).read_bytes() == content
        return
    with pytest.raises(DownloadError, match=r"zip archive as torch.*Found: 1000 bytes"):
        get(server, target)
    assert visible(target.parent) == ["w.pt.rejected"]
    assert get(server, target, accept_hash_mismatch=True).read_bytes() == content


@pytest.mark.parametrize("secret", ["secret", "sec@ret", "sec/ret", "sec#ret"])
@pytest.mark.parametrize("place", ["127.0.0.1:9", "127.0.0.1:99999", "a..b", ""])
def test_password_of_a_mirror_is_never_repeated(thing, caplog, secret, place):
    with caplog.at_level(logging.INFO), pytest.raises(DownloadError) as caught:
        fetch("thing", thing.parent, base_url=f"http://me:{secret}@{place}")
    assert "thing.bin" in (said := str(caught.value) + caplog.text)
    assert not any(word in said for word in ("me:", "sec", "ret@"))


@pytest.mark.parametrize("status", [404, 500])
def test_http_error(server, thing, status):
    server.status = status
    with pytest.raises(DownloadError, match=rf"does not send.*files/thing\.bin.*HTTP {status}"):
        get(server, thing)
    assert visible(thing.parent) == []


def test_passing_http_error_keeps_what_came(server, thing):
    thing.parent.mkdir()
    part = thing.with_name("thing.bin.part")
    part.write_bytes(CONTENT[:5000])
    server.status = 503
    with pytest.raises(DownloadError, match="HTTP 503"):
        get(server, thing)
    assert part.stat().st_size == 5000
    server.status, server.content["/files/thing.bin"] = 0, CONTENT[:4000]
    with pytest.raises(DownloadError, match="HTTP 416"):
        get(server, thing)
    assert not part.exists()


def test_no_network(thing):
    with pytest.raises(DownloadError, match=r"No file came.*ConnectionRefused.*proxy"):
        fetch("thing", thing.parent, base_url="http://127.0.0.1:9")
    assert visible(thing.parent) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [(POINTER, "Git LFS pointer"), (b"\n<!DOCTYPE html><p>Sign in", "web page")],
)
def test_pointer_or_page_instead_of_the_file(server, thing, content, message):
    server.content["/files/thing.bin"] = content
    for accept in (False, True):
        with pytest.raises(DownloadError, match=message):
            get(server, thing, accept_hash_mismatch=accept)
    assert visible(thing.parent) == []


def test_pointer_in_place_of_weights(tmp_path):
    path = tmp_path / "FetalCLIP_weights.pt"
    path.write_bytes(POINTER)
    with pytest.raises(DownloadError) as caught:
        require_not_lfs_pointer(path)
    download = "fetalclip-nb download fetalclip,"
    for fact in ("1710766661 bytes", "90916caa", download, "git lfs pull"):
        assert fact in str(caught.value)
    with pytest.raises(DownloadError, match="LFS pointer"):
        fetch("fetalclip", tmp_path, base_url="http://127.0.0.1:9")
    for other in (b"version 3", POINTER + b" " * 5000):
        path.write_bytes(other)
        require_not_lfs_pointer(path)
    require_not_lfs_pointer(tmp_path / "none.pt")


def test_file_without_registered_hash_tells_its_own(server, thing, register, caplog):
    register(remote("thing.bin", bytes=None, hash="", hash_source=""))
    with caplog.at_level(logging.INFO, __name__):
        get(server, thing)
    assert file_hash(thing) in caplog.text


def test_several_callers_make_one_request(server, thing):
    with ThreadPoolExecutor(6) as pool:
        paths = list(pool.map(lambda _: get(server, thing), range(6)))
    assert paths == [thing] * 6
    assert len(server.requests) == 1


def test_entry_of_several_files_returns_the_folder(server, thing, register):
    server.content["/files/sub/b.json"] = b"{}"
    register(remote("thing.bin"), remote("sub/b.json", b"{}"))
    assert get(server, thing) == thing.parent
    assert (thing.parent / "sub" / "b.json").read_bytes() == b"{}"


def test_full_disk(server, thing, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DownloadError, match=r"Not enough space.*300000 bytes.*1000 bytes free"):
        get(server, thing)


def test_folder_that_cannot_be_made(server, thing, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch("thing", tmp_path / "file" / "folder", base_url=server.url)


def test_unknown_name_lists_the_known():
    with pytest.raises(DownloadError, match=r"Expected: fetal_planes, hc18.*Found: fetal_plane"):
        fetch("fetal_plane", "nowhere")


def test_released_files_arrive_in_their_layout(server, shared_data, tmp_path, monkeypatch):
    entry = registered("fetalclip-released")
    here = [f for f in entry.files if (shared_data / "fetalclip" / f.path).is_file()]
    entry = replace(entry, files=tuple(here))  # the script is at hand for its users alone
    monkeypatch.setattr("fetalclip_nb.downloads.fetch.registered", lambda _: entry)
    commit = "/BioMedIA-MBZUAI/FetalCLIP/253a1690e571507023c1fbfa8e235b1bdcec5d65/"
    for file in entry.files:
        content = (shared_data / "fetalclip" / file.path).read_bytes()
        server.content[commit + file.path] = content
    folder = fetch("fetalclip-released", tmp_path / "released", base_url=server.url)
    assert all(file_hash(folder / file.path) == file.hash for file in entry.files)
    assert len(server.requests) == len(entry.files) == 20


def zipped(folder, prefix="", skip=()):
    """A zip of a folder's content below a prefix."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in skip):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
        if prefix:
            archive.writestr(f"__MACOSX/{prefix}Images/._x.png", b"Finder")
    return path.read_bytes()


def serve(server, monkeypatch, name, contents):
    """Let the registered data set be these small files."""
    real = registered(name)
    files = tuple(remote(path, content) for path, content in contents.items())
    monkeypatch.setitem(registry(), name, replace(real, files=files))
    server.content |= {f"/files/{path}": content for path, content in contents.items()}


CSV = "training_set_pixel_size_and_HC.csv"

CENTRES = ["Algeria", "Egypt", "Ghana", "Malawi", "Uganda"]

READABLE = {
    "african_planes": (helpers.write_african, ["African_planes_database.csv", *CENTRES]),
    "fetal_planes": (helpers.write_planes, ["FETAL_PLANES_DB_data.csv", "Images"]),
    "hc18": (helpers.write_heads, ["training_set", CSV]),
    "fass": (helpers.write_fass, ["ARRAY_FORMAT", "IMAGES"]),
    "focus": (helpers.write_focus, ["testing", "training", "validation"]),
}


def bytes_below(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("prefix", ["", "training_set/", "a/training/"])
@pytest.mark.parametrize("name", READABLE)
def test_data_sets_become_readable(server, monkeypatch, tmp_path, name, prefix):
    write, parts = READABLE[name]
    source, root = tmp_path / "source", tmp_path / "data"
    write(source)
    expected = bytes_below(source)
    if name == "hc18":
        content = {"x.zip": zipped(source / "training_set", prefix), CSV: expected[Path(CSV)]}
        root.mkdir()  # an empty folder is fine
    else:
        helpers.write_image(source / "figure.png")  # an image in another folder, too
        content = {"x.zip": zipped(source, prefix)}
    if name == "african_planes":  # the one that comes as a tar
        with tarfile.open(tmp_path / "x.tar.xz", "w:xz") as archive:
            archive.add(source, f"./{prefix}")
        content = {"x.tar.xz": (tmp_path / "x.tar.xz").read_bytes()}
    serve(server, monkeypatch, name, content)
    assert prepare_dataset(name, root, base_url=server.url) == root
    assert bytes_below(root) == expected and visible(root) == parts
    assert len(load_dataset(name, root)) == len(load_dataset(name, source))
    assert "data.downloads" in visible(tmp_path)
    assert prepare_dataset(name, root, base_url="http://127.0.0.1:9") == root


def test_archive_with_one_split_twice_or_without_one(server, monkeypatch, tmp_path):
    source = helpers.write_focus(tmp_path / "source")
    shutil.copytree(source / "testing", source / "old" / "testing")
    serve(server, monkeypatch, "focus", {"FOCUS-dataset.zip": zipped(source)})
    match = r"one folder testing/images with \*\.png\. Found: 0/old/testing/images, 0/testing/im"
    with pytest.raises(DataError, match=match):
        prepare_dataset("focus", tmp_path / "data", base_url=server.url)
    assert not (tmp_path / "data").exists()


def test_archive_without_the_table(server, monkeypatch, tmp_path):
    source = helpers.write_planes(tmp_path / "source")
    archive = zipped(source, skip=("FETAL_PLANES_DB_data.csv",))
    serve(server, monkeypatch, "fetal_planes", {"FETAL_PLANES_ZENODO.zip": archive})
    with pytest.raises(DataError, match=r"does not hold.*one file FETAL_PLANES_DB_data\.csv"):
        prepare_dataset("fetal_planes", tmp_path / "data", base_url=server.url)
    assert visible(tmp_path) == ["data.downloads", "source", "source.zip"]
    assert not (tmp_path / ".data.preparing").exists()


def test_folder_of_phantoms_or_other_things_is_refused(tmp_path):
    root = helpers.write_planes(tmp_path / "phantoms")
    (root / "phantom.json").write_text("{}")
    with pytest.raises(DataError, match="holds phantoms"):
        prepare_dataset("fetal_planes", root, base_url="http://127.0.0.1:9")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.docx").write_text("precious")
    with pytest.raises(DataError, match=r"neither empty nor this data set.*thesis\.docx"):
        prepare_dataset("hc18", tmp_path / "other", base_url="http://127.0.0.1:9")


def test_model_is_no_dataset(tmp_path):
    with pytest.raises(DownloadError, match=r"no data set.*Expected: fetal_planes, hc18"):
        prepare_dataset("fetalclip", tmp_path)


@pytest.mark.parametrize("entry", registry().values(), ids=lambda entry: entry.name)
def test_registry_entry_is_complete(entry):
    assert all((entry.title, entry.kind, entry.licence, entry.citation, entry.page))
    assert entry.citation_doi.startswith("10.")
    paths = [file.path for file in entry.files]
    assert len(set(paths)) == len(paths) > 0
    digits = {"md5": 32, "sha256": 64, "": 0}
    for file in entry.files:
        assert file.url.startswith("https://")
        assert file.url.endswith(file.path) or entry.name == "fass"  # an address without a name
        algorithm, _, value = file.hash.partition(":")
        assert len(value) == digits[algorithm]
        assert file.hash_source in ({"measured", "third party"} if file.hash else {""})
