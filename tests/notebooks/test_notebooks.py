"""Notebooks: their form, and a real run of each on small data."""

import ast
import json
import re
import shutil
import statistics

import nbformat
import pandas as pd
import papermill
import pytest

from fetalclip_nb import phantoms, profiles
from fetalclip_nb.errors import ProfileError
from fetalclip_nb.experiments.embeddings import tables
from fetalclip_nb.results import result_files
from fetalclip_nb.workflow import gate, parameters, runner

ORGANS = {"abdomen_root": "abdomen", "heart_root": "heart"}
DATA = {
    "00_quickstart": {"images": "fetal_planes"},
    "01_zero_shot": {"data_root": "fetal_planes"},
    "02_gestational_age": {"data_root": "hc18"},
    "03_linear_probing": {"data_root": "fetal_planes", "chd_root": "chd"},
    "04_segmentation": {"data_root": "hc18", **ORGANS},
    "05_few_data": {"data_root": "fetal_planes", "hc18_root": "hc18"},
    "06_cam": {"data_root": "fetal_planes", "hc18_root": "hc18", **ORGANS},
    "07_embeddings": {"data_root": "fetal_planes", "hc18_root": "hc18"},
    "09_summary": {},
}
"""Parameters that take a folder, and the demo's data set that each is given."""

NAMES = tuple(DATA)
SMALL = "phantomclip-untrained"
LITTLE = {
    "00_quickstart": {"count": 2, "maps": "none"},
    "01_zero_shot": {},
    "02_gestational_age": {},
    "03_linear_probing": {"copies": 1, "folds": 2, "runs": 2, "epochs": 2, "probe_batch": 8},
    "04_segmentation": {
        "side": 32,
        "filters": 2,
        "copies": 1,
        "folds": 2,
        "head_folds": 2,
        "epochs": 2,
    },
    "05_few_data": {
        "head_sizes": "2, 4",
        "head_epochs": 2,
        "head_sets": 1,
        "side": 32,
        "filters": 2,
        "copies": 2,
        "sets": 2,
        "runs": 2,
        "epochs": 2,
        "probe_batch": 2,
        "plane_sizes": "4, 8",
        "brain_sizes": "4, 8",
    },
    "06_cam": {
        "per_class": 2,
        "compare": "gradcam",
        "steps": 3,
        "random_draws": 1,
        "region_images": 2,
    },
    "07_embeddings": {},
    "09_summary": {},
}
"""Settings that make a chapter quick."""

FIGURE = r"^\s*((\w+\.|probe_|segmentation_|cam_|embedding_)?figures\.(?!use_style)|\w+\.picture\()"
"""A call that draws."""


def cells_of(path, kind="code"):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


@pytest.fixture(params=NAMES)
def source(request, repository):
    return repository / "notebooks" / f"{request.param}.ipynb"


def test_every_notebook_is_tested(repository):
    assert {path.stem for path in (repository / "notebooks").glob("*.ipynb")} == set(NAMES)


def test_source_carries_no_outputs_and_no_functions(source):
    for cell in cells_of(source):
        assert not cell.outputs and cell.execution_count is None
        assert not re.search(r"^\s*(def|class) ", cell.source, re.M)


COLAB = "find_spec"
"""In the cell that installs the package where it is missing."""

VAGUE = {"found", "kept", "here", "shown", "seen", "one", "given"}
"""Names that do not say what they hold."""


def own_code(source) -> list[str]:
    """Code cells but for the parameters and the one for Colab."""
    cells = (c for c in cells_of(source) if "parameters" not in c.metadata.get("tags", []))
    return [cell.source for cell in cells if COLAB not in cell.source]


def test_cells_are_few_and_short(source):
    lengths = [sum(map(bool, map(str.strip, code.splitlines()))) for code in own_code(source)]
    assert len(lengths) <= 28
    assert statistics.median(lengths) <= 4 and max(lengths) <= 12


def test_a_notebook_needs_few_names_from_few_faces(source):
    imports = [
        node
        for code in own_code(source)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert len(imports) <= 8
    assert len({alias.asname or alias.name for node in imports for alias in node.names}) <= 25


def test_names_in_notebooks_say_what_they_hold(source):
    for code in own_code(source):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                assert node.id not in VAGUE, node.id
            if isinstance(node, ast.Call):
                hidden = [word for word in node.keywords if word.arg is None]
                assert not hidden, "options that hide what is passed"


def test_commands_can_be_pasted(source):
    """Two backslashes at a line's end would end the command there."""
    text = "\n".join(cell.source for cell in cells_of(source, "markdown"))
    commands = re.findall(r"```bash\n(.*?)```", text, re.S)
    assert commands
    for line in "".join(commands).splitlines():
        assert not line.endswith("\\\\"), line


def test_one_parameters_cell_in_papermills_grammar(source):
    tagged = [c for c in cells_of(source) if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    for line in tagged[0].source.splitlines():
        assert re.fullmatch(r"\w+: (str|int|float|bool) = [^#]+  # \S.*", line), line
    found = papermill.inspect_notebook(str(source))
    assert {"profile", "models", "results_dir", "cache_dir", "device", "seed"} <= set(found)


def test_every_figure_has_alt_text_and_a_caption(source):
    for cell in cells_of(source):
        if re.search(FIGURE, cell.source, re.M):
            settings = cell.metadata["mystnb"]
            assert len(settings["image"]["alt"]) > 30
            assert settings["figure"]["name"].startswith("fig-")


def test_tables_with_a_style_escape_what_users_wrote(source):
    """A styled table shows HTML as it comes, unlike a plain one: sentences are a user's."""
    for cell in cells_of(source):
        styled = len(re.findall(r"\.style\b", cell.source))
        for call in (r"\.format\(", r"\.format_index\("):
            escaped = re.findall(call + r"""[^()]*escape=["']html["']""", cell.source)
            assert len(escaped) >= styled, cell.id


def test_profiles_inject_only_what_the_notebooks_declare(repository, monkeypatch):
    monkeypatch.chdir(repository)
    for name in ("demo", "paper"):
        profile = profiles.load_profile(name)
        for notebook in profile.notebooks:
            values = runner.notebook_parameters(profile, notebook)
            source = repository / "notebooks" / f"{notebook}.ipynb"
            declared = parameters.declared_parameters(source)
            parameters.check_parameters(notebook, declared, values)


def test_profile_must_say_which_data_a_notebook_reads(source, repository, monkeypatch):
    monkeypatch.chdir(repository)
    profile = profiles.load_profile("demo")
    values = runner.notebook_parameters(profile, source.stem)
    declared = parameters.declared_parameters(source)
    runner.require_data(source.stem, declared, values, profile)
    for parameter, name in DATA[source.stem].items():
        assert values[parameter] == f"build/demo/data/{name}"
        less = {key: value for key, value in values.items() if key != parameter}
        message = f"notebooks {source.stem}.*fetal_planes, external, hc18.*no {parameter}"
        with pytest.raises(ProfileError, match=message):
            runner.require_data(source.stem, declared, less, profile)


def test_changed_prompt_file_or_folder_changes_the_state(source, tmp_path):
    prompts = tmp_path / "prompts.json"
    prompts.write_text("{}")
    values = {"data_root": str(tmp_path), "cache_dir": "some/where"}
    declared = parameters.declared_parameters(source)
    before = runner.outside_state(declared, values)
    assert "some/where" not in before and str(tmp_path) in before
    assert runner.outside_state(declared, values) == before
    prompts.write_text('{"a": ["b"]}')
    assert runner.outside_state(declared, values) != before


@pytest.fixture(scope="module")
def executed(tmp_path_factory, repository):
    """All notebooks on a few phantoms, through the runner, with parameters injected."""
    folder = tmp_path_factory.mktemp("small")
    phantoms.write_fetal_planes(folder / "fetal_planes", patients=50, seed=3, workers=1)
    phantoms.write_hc18(folder / "hc18", patients=24, seed=3, workers=1)
    phantoms.write_chd(folder / "chd", patients=30, seed=3, workers=1)
    for name, view in {"abdomen": "abdomen", "heart": "four_chamber"}.items():
        phantoms.write_organs(folder / name, view=view, patients=12, seed=3, workers=1)
    outcomes = {}
    for name in NAMES:
        values = {
            "profile": "small",
            **{parameter: str(folder / data) for parameter, data in DATA[name].items()},
            **LITTLE[name],
            "models": SMALL,
            "results_dir": str(folder / "results"),
            "cache_dir": str(folder / "cache"),
            "device": "cpu",
            "seed": 5,
        }
        path = repository / "notebooks" / f"{name}.ipynb"
        if "released_root" in papermill.inspect_notebook(str(path)):
            values["released_root"] = "nowhere"
        target = folder / "notebooks" / f"{name}.ipynb"
        outcomes[name] = runner.run_notebook(path, target, values, {})
    return folder, outcomes


def test_summary_has_a_cell_for_every_model_and_task(executed):
    """It sums up the small runs above, and the paper's models that were not run."""
    folder, outcomes = executed
    assert outcomes["09_summary"].status == "done", outcomes["09_summary"].error
    cells = pd.read_parquet(folder / "results/09_summary/cells.parquet")
    assert len(cells) == 9 * 5 and cells["task"].nunique() == 9
    ours = cells[cells["model"] == SMALL]
    assert set(ours["verdict"]) == {"phantoms"} and ours["value"].between(0, 1).all()
    chapter = result_files.load_results(folder / "results/02_gestational_age")
    value = ours.set_index("task")["value"]["zero-shot age (VPR)"]
    assert value == chapter[SMALL].score("vpr").value
    assert set(cells[cells["model"] != SMALL]["verdict"]) == {"not run", "private"}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "09_summary"])
def test_notebook_runs_and_its_injected_parameters_took_effect(executed, name):
    folder, outcomes = executed
    assert outcomes[name].status == "done", outcomes[name].error
    saved = result_files.load_results(folder / "results" / name)
    headline = next(iter(saved.values()))
    assert headline.model == SMALL and headline.synthetic
    assert headline.parameters["seed"] == 5
    assert headline.parameters["profile"] == "small"
    scored = headline.scores.values()
    assert all(s.low <= s.value <= s.high for units in scored for s in units.values())
    assert list((folder / "results" / name).rglob("*.parquet"))


def test_gate_accepts_the_clean_runs(executed, repository):
    gate.check_notebooks(NAMES, repository=repository, built=executed[0])


def test_quickstart_says_what_its_picture_has_for_a_map(executed):
    facts = json.loads((executed[0] / "results" / "00_quickstart" / "facts.json").read_text())
    assert LITTLE["00_quickstart"]["maps"] == "none"
    assert facts["map_sentence"] == "This run drew no map."


@pytest.fixture
def again(executed, repository, tmp_path):
    """Runs a chapter on other data; gives its texts and the outputs of its cells."""

    def run(name, **values):
        values = {
            "data_root": str(executed[0] / "fetal_planes"),
            "models": SMALL,
            "results_dir": str(tmp_path / "results"),
            "cache_dir": str(executed[0] / "cache"),
            "device": "cpu",
            **LITTLE[name],
            **values,
        }
        source, target = (root / f"notebooks/{name}.ipynb" for root in (repository, tmp_path))
        outcome = runner.run_notebook(source, target, values, {})
        assert outcome.status == "done", outcome.error
        gate.check_notebooks([name], repository=repository, built=tmp_path)
        texts = result_files.render_glue(tmp_path / "results" / name)
        return texts, {cell.id: json.dumps(cell.outputs) for cell in cells_of(target)}

    return run


def test_probing_runs_without_clips_and_says_so(again):
    texts, outputs = again("03_linear_probing", chd_root="")
    assert "not measured" in texts["facts/chd_sentence"]
    assert not [text for text in texts.values() if "(CHD)" in text]
    assert "No clips were given" in "".join(outputs.values())


def test_probing_reads_a_users_own_stills(executed, again, tmp_path):
    """A manifest with the four needed columns and nothing else; a still is a clip of one frame."""
    clips = pd.read_csv(executed[0] / "chd" / "manifest.csv")
    stills = clips.loc[clips["frame"] == 0, ["image", "label", "patient", "split"]]
    for image in stills["image"]:
        path = tmp_path / "own" / image
        path.parent.mkdir(parents=True)
        path.write_bytes((executed[0] / "chd" / image).read_bytes())
    stills.to_csv(tmp_path / "own" / "manifest.csv", index=False)
    texts, _ = again("03_linear_probing", chd_root=str(tmp_path / "own"), frames=1)
    tested = (stills["split"] == "test").sum()
    # Without the phantoms' mark they count as what they are said to be; the planes stay phantoms.
    assert f"on {tested} clips that are real ultrasound images." in texts["facts/chd_sentence"]
    assert "phantoms" in texts["facts/images_are"]
    saved = result_files.load_results(tmp_path / "results" / "03_linear_probing")
    assert saved[SMALL].synthetic and not saved[f"{SMALL} (CHD)"].synthetic


def test_embeddings_say_what_cannot_be_told_and_cosines_stay_cosines(executed, again, tmp_path):
    """One model, no heads, each plane scanned with a machine of its own, all by one operator."""
    folder = shutil.copytree(executed[0] / "fetal_planes", tmp_path / "planes")
    listed = folder / "FETAL_PLANES_DB_data.csv"
    table = pd.read_csv(listed, sep=";")
    table = table.assign(US_Machine=table["Plane"], Operator="Op. 1")
    table.to_csv(listed, sep=";", index=False)
    given = {"data_root": str(folder), "hc18_root": "", "models": "phantomclip"}
    texts, outputs = again("07_embeddings", **given, distance="cosine")

    assert "cannot be told: no class has images of more" in texts["facts/machines_sentence"]
    assert texts["facts/operators_sentence"] == "All images have the same operator."
    assert texts["facts/beside_sentence"] == (
        "Whether anatomy or the machine is separated more cannot be told; all images have the same "
        f"operator. {tables.PHANTOMS}"
    )
    assert texts["facts/others_explained"] == "No other model was run."
    assert texts["facts/unprompted_sentence"].startswith('No class has the name "other", the label')
    assert "No heads were given" in outputs["heads"]
    # The row of the vectors holds the very silhouette of the headline, which is of cosines.
    row = re.search(r"<th>\d+ dimensions</th>(.*?)</tr>", outputs["kept"]).group(1)
    assert f"<td>{texts['headline/planes/silhouette']} (" in row
