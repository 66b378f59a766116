"""The command line: one paragraph an error, nothing heavy before it is needed."""

import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fetalclip_nb import cli, memory
from fetalclip_nb.downloads import fetch
from fetalclip_nb.errors import DataError
from fetalclip_nb.experiments.pretraining import run
from tiny import notebook, project


def test_help_imports_nothing_heavy(tmp_path):
    code = (
        "import sys\nfrom fetalclip_nb import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'open_clip', 'papermill', 'pandas', 'matplotlib', 'pydicom'}\n"
        "heavy &= set(sys.modules)\nsys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = "predict, search, data, embed, run, book, download, doctor, pretrain"
    for name in names.split(", "):
        assert f"    {name} " in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--profile", "nowhere"), "Profile is missing"),
        (("run", "two"), "No such notebook"),
        (("data", "nothing"), "The profile has no such data set"),
        (("embed", "--data", "nothing"), "The profile has no such data set"),
        (("download", "nothing"), "Nothing is registered under this name"),
        (("book",), "The book cannot be built: 1 problem. "),
    ],
)
def test_an_error_is_one_paragraph_and_exit_code_2(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(project(tmp_path, one=notebook("1")))
    (tmp_path / "book").mkdir()
    (tmp_path / "book/_toc.yml").write_text("root: book/intro\nchapters: [{file: notebooks/one}]")
    assert cli.main(words) == cli.USAGE_ERROR == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {message}")
    assert captured.err.count("\n") == 1 and "Traceback" not in captured.err


def test_an_error_of_several_lines_is_joined(monkeypatch, capsys):
    def fail(name):
        raise DataError("First\nsecond", found="a\n  b")

    monkeypatch.setattr(cli, "load_profile", fail)
    assert cli.main(["data"]) == 2
    assert capsys.readouterr().err == "error: First second. Found: a b.\n"


def test_failed_notebook_gives_exit_code_1_and_a_summary(tmp_path):
    project(tmp_path, bad=notebook("1 / 0"), good=notebook("1"))
    command = [sys.executable, "-m", "fetalclip_nb.cli", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == cli.NOTEBOOK_FAILED == 1
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["bad", "failed"],
        ["good", "done"],
    ]
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: 1 of 2 notebooks failed. Found: bad, cell In [3], `1 / 0`")
    assert "Traceback" not in done.stderr


ENDS = [
    (KeyboardInterrupt(), 130, "Stopped by Ctrl-C. Where: `fetalclip-nb data x`"),
    (
        OSError(28, "No space left on device", "a.npy"),
        2,
        "a.npy in `fetalclip-nb data x`. Found: No",
    ),
    (OSError(36, "File name too long", "a" * 5000), 2, "Reading or writing failed"),
    (OSError("no connection to the hub"), 2, "Found: no connection to the hub"),
    (BrokenPipeError(32, "Broken pipe"), 2, "Found: Broken pipe"),
    (UnicodeDecodeError("utf-8", b"\xf6", 0, 1, "invalid start byte"), 2, "in UTF-8."),
    (MemoryError(), 2, "Memory does not suffice"),
    (
        ValueError("5 is no 6"),
        3,
        "Unexpected error. Where: `fetalclip-nb data x`. Found: 5 is no 6",
    ),
    (RecursionError("too deep"), 3, "with --debug"),
]


@pytest.mark.parametrize(("error", "code", "message"), ENDS)
def test_whatever_ends_a_command_is_one_sentence(monkeypatch, capsys, error, code, message):
    def fail(_):
        raise error

    monkeypatch.setattr(cli, "load_profile", fail)
    assert cli.main(["data", "x"]) == code
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said
    assert said.count("\n") == 1 and len(said) < 800
    assert cli.main(["data", "x", "--debug"]) == code
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback") and shown.endswith(said.replace("x`", "x --debug`"))


def test_passwords_in_addresses_are_not_repeated(monkeypatch, capsys):
    monkeypatch.setattr("fetalclip_nb.downloads.registry.registered", lambda _: 1 / 0)
    assert cli.main(["download", "x", "--base-url", "https://me:secret@host"]) == 3
    assert "secret" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shell", "out", "err"),
    [
        (
            "{} >&-",
            "2",
            "error: Reading or writing failed. Where: standard output in `fetalclip-nb",
        ),
        ("{} 2>&-", "an answer 0", ""),
        ("{} refused >&-", "2", "error: Cannot be used"),
        ("{} refused 2>&-", "2", ""),
        ("{{ {}; echo $? >&3; }} | true; true", "141 0", ""),
    ],
)
def test_streams_that_are_closed_lose_nothing_in_silence(tmp_path, shell, out, err):
    (tmp_path / "run.py").write_text(
        "import sys\nfrom fetalclip_nb import cli, errors\n"
        "def load(name):\n"
        "    errors.refuse([name] * (name == 'refused'), 'Cannot be used')\n"
        "    print('an answer')\n    return cli.Profile(*[''] * 5, {}, [])\n"
        "cli.load_profile = load\nname = [*sys.argv[1:], 'demo'][0]\n"
        "sys.exit(cli.main(['data', '--profile', name]))"
    )
    shell = "exec 3>&1; " + shell.format(f"{sys.executable} run.py") + "; echo $?"
    done = subprocess.run(
        ["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert " ".join(done.stdout.split()) == out
    assert done.stderr.startswith(err) and bool(done.stderr) == bool(err)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "utf-8"])
def test_what_a_code_page_lacks_is_escaped_as_json_does(monkeypatch, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    text = "Kopf ö 胎儿 😀"
    monkeypatch.setattr(cli, "load_profile", lambda _: print(json.dumps(text, ensure_ascii=False)))
    cli.main(["data"])
    assert json.loads(stream.buffer.getvalue().decode(encoding)) == text


def test_a_terminated_command_clears_away_what_it_has_begun():
    code = (
        "import os, signal\nfrom fetalclip_nb import cli\n"
        "def load(_):\n    try:\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    finally:\n        print('cleared')\n"
        "cli.load_profile = load\nraise SystemExit(cli.main(['data']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (143, "cleared\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "-1", "2", "3"], "too small.*--steps"),
        (["--heads", "0", "--seed", "-1"], "too small.*--heads, --seed"),
        (["--out", "file"], "file in `fetalclip-nb pretrain"),
        (["--out", "new", "--real", "empty"], "Table is missing"),
    ],
)
def test_what_would_fail_after_the_training_fails_before(
    tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "run", lambda *_, **__: pytest.fail("trained"))
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    assert cli.main(["pretrain", *words]) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    """A project whose profile names a manifest of three images and the untrained model."""
    monkeypatch.chdir(project(tmp_path, one=notebook("1")))
    folder = tmp_path / "own"
    folder.mkdir()
    for number in range(3):
        pixels = np.full((20, 30), 60 * number, dtype=np.uint8)
        pixels[0] = 255
        Image.fromarray(pixels).save(folder / f"{number}.png")
    rows = [f"{number}.png,brain,p{number % 2}" for number in range(3)]
    (folder / "manifest.csv").write_text("\n".join(["image,label,patient", *rows]))
    profile = (tmp_path / "profiles/demo.yaml").read_text()
    profile = profile.replace("data: {}", "data: {own: {kind: manifest, root: own}}")
    profile = profile.replace("- phantomclip", "- phantomclip-untrained")
    (tmp_path / "profiles/demo.yaml").write_text(profile)
    return folder


def test_data_reads_each_set_once_and_counts(own_data, capsys):
    assert cli.main(["data"]) == 0
    assert capsys.readouterr().out == "own: 3 images of 2 patients in own\n"


def test_verify_names_files_that_changed_behind_their_times(own_data, monkeypatch, capsys):
    monkeypatch.setattr(memory, "_HERE", memory._Place())
    monkeypatch.setattr(memory, "_facts", lambda root, files: [[0, 0, 0, 0]])
    assert cli.main(["data"]) == 0
    (own_data / "1.png").write_bytes((own_data / "2.png").read_bytes())
    assert cli.main(["data"]) == 0  # as if nothing had been touched
    for words in (["data"], ["embed"], ["search", "own", "--text", "a head"]):
        assert cli.main([*words, "--verify"]) == 2
        message = "1 of 3 files have changed without a changed time. Where: .*own. Found: 1.png."
        assert re.search(message, capsys.readouterr().err)


def test_bad_data_is_an_error_before_any_work(own_data, capsys):
    (own_data / "1.png").write_bytes(b"\x89PNG broken")
    assert cli.main(["embed"]) == 2
    assert "1 of 3 images are damaged" in capsys.readouterr().err


def test_embed_fills_the_cache_once(own_data, capsys):
    assert cli.main(["embed"]) == 0
    assert "phantomclip-untrained on own: (3, 128)" in capsys.readouterr().out
    cached = (own_data.parent / "build/cache/embeddings").iterdir()
    assert sum(path.is_dir() for path in cached) == 1


def test_downloads_go_to_where_they_are_looked_for(own_data, monkeypatch, capsys):
    asked = []

    def record(name, folder, **options):
        asked.append((name, folder.relative_to(own_data.parent).as_posix(), options))
        return folder

    monkeypatch.delenv("FETALCLIP_NB_MODELS", raising=False)
    for function in ("fetch", "prepare_dataset"):
        monkeypatch.setattr(fetch, function, record)
    for words in (["fetalclip"], ["hc18"], ["fetalclip-released", "--accept-hash-mismatch"]):
        assert cli.main(["download", *words]) == 0
    plain, forced = ({"accept_hash_mismatch": a, "base_url": None} for a in (False, True))
    assert asked == [
        ("fetalclip", "build/models/fetalclip", plain),
        ("hc18", "build/data/hc18", plain),
        ("fetalclip-released", "build/data/fetalclip-released", forced),
    ]
    assert "CC BY-NC 4.0. Cite: Maani" in capsys.readouterr().out


def test_doctor_loads_the_shipped_model(capsys):
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "  torch 2" in shown and "not installed" not in shown
    assert "phantomclip loads on" in shown
