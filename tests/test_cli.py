"""The command line: one paragraph an error, nothing heavy before it is needed."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fetalclip_nb import cli
from fetalclip_nb.downloads import fetch
from fetalclip_nb.errors import DataError
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
