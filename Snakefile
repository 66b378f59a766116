# From a profile to its book: data -> embeddings -> notebooks -> book.
#
#   snakemake --cores all                          the demo
#   snakemake --cores all --config profile=paper   the paper's data and models
#   snakemake -n                                   what would run, and why
#
# Each rule runs one `fetalclip-nb` command, and depends on its part of the profile and on the
# package files behind it: a change reruns what depends on it and nothing else. What files hold
# decides, whatever their dates say, and what was made must be as it was left (see "Marks").
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from filelock import FileLock, Timeout
from snakemake.exceptions import WorkflowError

from fetalclip_nb.errors import FetalClipError
from fetalclip_nb.files import slug
from fetalclip_nb.paths import shown
from fetalclip_nb.profiles import load_profile
from fetalclip_nb.workflow.absent import absent_data, absent_models
from fetalclip_nb.workflow.build import book_chapters
from fetalclip_nb.workflow.dependencies import PACKAGE, data_files, module_files, notebook_files
from fetalclip_nb.workflow.runner import chapters_before, is_current, plan
from fetalclip_nb.workflow.states import outside_state, state

# The commands of this very environment, whether or not it is activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

try:
    PROFILE = load_profile(config.get("profile", "demo"))
    PAGES = book_chapters(PROFILE)
except FetalClipError as error:
    raise WorkflowError(str(error))

ROOT = Path(workflow.basedir)
# One job at a time on a GPU (with `--resources gpu=1`, as `make book` passes it).
GPU = int(PROFILE.device != "cpu" and shutil.which("nvidia-smi") is not None)
try:
    CORES = workflow.cores
    # Decoders are trained one a core (each on one thread) whatever the job's own threads.
    os.environ["LOKY_MAX_CPU_COUNT"] = str(CORES)
except WorkflowError:  # on a cluster each job has cores of its own
    CORES = 1
# The longest first: it must not run alone at the end. (05 may read embeddings that 03 has made.)
LONGEST = (
    *("04_segmentation", "03_linear_probing", "05_few_data", "06_cam"),
    *("02_gestational_age", "07_embeddings", "01_zero_shot", "00_quickstart"),
)
PRIORITY = {name: number for number, name in enumerate(reversed(LONGEST), 1)}


def share(jobs):
    """Threads of each of some jobs: torch's threads must not wait for a core that another has."""
    return CORES if GPU else max(1, CORES // max(1, jobs))


def relative(paths):
    """Paths as the workflow knows them: relative to the checkout where they lie in it."""
    return [shown(path, ROOT) for path in paths]


def modules(*names):
    """Package files behind some modules."""
    return relative(module_files(f"fetalclip_nb.{name}" for name in names))


BUILD = shown(PROFILE.folder, ROOT)
GIVEN = shown(PROFILE.path, ROOT)
IMAGES = [n for n, source in PROFILE.data.items() if source.kind != "released" and source.embed]
MODELS = {slug(model): model for model in PROFILE.models}
READY = f"{BUILD}/data-{{name}}.ready"
EMBEDDED = f"{BUILD}/embeddings-{{model}}-on-{{name}}.ready"
NOTEBOOK = f"{BUILD}/notebooks/{{notebook}}.ipynb"
EXECUTED = f"{BUILD}/notebook-{{notebook}}.ready"
# What is made of data and models: package files, whose content is a parameter of the rules.
DRAWN = [*modules("data.sources"), *relative([PACKAGE / "downloads" / "registry.yaml"])]
EMBEDDING = [
    *modules("models.embed"),
    *relative(path for path in data_files() if "weights" in path.parts),
]
INDEX = f"{BUILD}/book/_build/html/index.html"
SHOWN = f"{BUILD}/book.ready"
BOOK = [f"{BUILD}/book/_build/html", *expand(NOTEBOOK, notebook=PAGES)]
WATCHED = [
    "_config.yml",
    *relative(
        path
        for pattern in ("*.md", "*.bib", "*.yml", "_ext/*.py", "_ext/*.jinja", "_static/*")
        for path in sorted((ROOT / "book").glob(pattern))
    ),
    # The API page shows every module.
    *relative(sorted(PACKAGE.rglob("*.py"))),
]


wildcard_constraints:
    name="|".join(map(re.escape, PROFILE.data)) or "none",
    model="|".join(map(re.escape, MODELS)) or "none",
    notebook="|".join(map(re.escape, PROFILE.notebooks)) or "none",


# Snakemake's own lock outlives a killed run and then asks for --unlock; this one dies with it.
# (`make book` passes --nolock.)
if workflow.is_main_process and not workflow.dryrun:
    Path(BUILD).mkdir(parents=True, exist_ok=True)
    LOCK = FileLock(f"{BUILD}/.workflow.lock", blocking=False)
    try:
        LOCK.acquire()
    except Timeout:
        raise WorkflowError(f"Another run is working on the profile {PROFILE.name}: wait for it.")


# Marks, files that end in .ready: Snakemake looks at dates, and at what it remembers itself. So a
# mark is taken away where what it stands for is out of date, or no longer as it was left, and it
# is put back where that is undone.
def uphold(mark, holds):
    """Leave a mark where it holds, and only there."""
    if not holds:
        Path(mark).unlink(missing_ok=True)
    elif not Path(mark).exists():
        Path(mark).touch()


def as_left(mark, *products):
    """Whether the products that a mark stands for are in the state that was noted beside it."""
    note = Path(f"{mark}.state")
    return note.is_file() and note.read_text("utf-8").strip() == state(*map(Path, products))


# Notes that state behind a rule's command, given the products.
NOTE = "import sys; from fetalclip_nb.workflow import states as s; " \
    "print(s.state(*map(s.Path, sys.argv[1:])))"
NOTE = f"{shlex.quote(sys.executable)} -c {shlex.quote(NOTE)}"

if workflow.is_main_process:
    try:
        for name, source in PROFILE.data.items():
            uphold(READY.format(name=name), as_left(READY.format(name=name), source.root))
        # Tried once, and again when somebody has put it there: whole chapters hang on it.
        for name, why in (absent_data(PROFILE) | absent_models(PROFILE)).items():
            print(f"Missing so far: {name}, {why}", file=sys.stderr)
        # Here their parameters are checked as well, before any rule runs.
        for name, planned in {name: plan(PROFILE, name) for name in PROFILE.notebooks}.items():
            uphold(EXECUTED.format(notebook=name), is_current(*planned))
        uphold(SHOWN, as_left(SHOWN, *BOOK))
    except FetalClipError as error:
        raise WorkflowError(str(error))


localrules:
    all,
    book,


rule all:
    input:
        INDEX,
        SHOWN,
        expand(READY, name=PROFILE.data),
        expand([NOTEBOOK, EXECUTED], notebook=PAGES),


rule data:
    input:
        DRAWN,
    output:
        touch(READY),
    message:
        "Data set {wildcards.name}"
    params:
        source=lambda wildcards: repr(PROFILE.data[wildcards.name]),
        root=lambda wildcards: shown(PROFILE.data[wildcards.name].root, ROOT),
        code=state(*map(Path, DRAWN)),
    log:
        f"{BUILD}/logs/data-{{name}}.log",
    resources:
        mem_mb=2000,
        runtime=120,
    shell:
        "fetalclip-nb data --profile {GIVEN:q} {wildcards.name:q} > {log:q} 2>&1"
        " && {NOTE} {params.root:q} > {output:q}.state"


rule embeddings:
    input:
        READY,
        EMBEDDING,
    output:
        touch(EMBEDDED),
    message:
        "Embeddings of {wildcards.name} by {params.model}"
    params:
        model=lambda wildcards: MODELS[wildcards.model],
        device=PROFILE.device,
        precision=PROFILE.precision,
        code=state(*map(Path, EMBEDDING)),
        weights=lambda wildcards: repr(outside_state({}, {"models": MODELS[wildcards.model]})),
    log:
        f"{BUILD}/logs/embeddings-{{model}}-on-{{name}}.log",
    threads: share(len(IMAGES) * len(MODELS))
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=GPU,
    shell:
        "fetalclip-nb embed --profile {GIVEN:q} --model {params.model:q} --data {wildcards.name:q}"
        " > {log:q} 2>&1"


rule notebook:
    input:
        lambda wildcards: relative(notebook_files(ROOT / "notebooks" / f"{wildcards.notebook}.ipynb")),
        expand(READY, name=PROFILE.data),
        expand(EMBEDDED, name=IMAGES, model=MODELS),
        lambda wildcards: expand(EXECUTED, notebook=chapters_before(PROFILE, wildcards.notebook)),
    output:
        NOTEBOOK,
        touch(EXECUTED),
    message:
        "Notebook {wildcards.notebook}"
    log:
        f"{BUILD}/logs/{{notebook}}.log",
    threads: share(len(PROFILE.notebooks))
    priority: lambda wildcards: PRIORITY.get(wildcards.notebook, 0)
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=GPU,
    shell:
        "fetalclip-nb run --profile {GIVEN:q} {wildcards.notebook:q} > {log:q} 2>&1"


rule book:
    input:
        expand([NOTEBOOK, EXECUTED], notebook=PAGES),
        WATCHED,
    output:
        INDEX,
        touch(SHOWN),
    message:
        "The book"
    params:
        description=PROFILE.description,
        pages=state(*map(Path, WATCHED)),
    log:
        f"{BUILD}/logs/book.log",
    shell:
        "fetalclip-nb book --profile {GIVEN:q} > {log:q} 2>&1"
        " && {NOTE} {BOOK:q} > {SHOWN:q}.state"
