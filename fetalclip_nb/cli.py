"""The command ``fetalclip-nb``: one subcommand a step of the road.

Whatever is heavy is imported by the subcommand that needs it: ``--help`` takes milliseconds.
"""

import argparse
import codecs
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from fetalclip_nb import __version__
from fetalclip_nb.ask import predict_command, search_command
from fetalclip_nb.audit import command as audit_command
from fetalclip_nb.errors import (
    DownloadError,
    FetalClipError,
    ModelError,
    ProfileError,
    listing,
    reason,
    refuse,
)
from fetalclip_nb.experiments.pretraining import command as pretraining
from fetalclip_nb.experiments.summary import command as compare_command
from fetalclip_nb.memory import add_verify, remember_in
from fetalclip_nb.paths import as_text, expanded, models_folder, project_root, shown
from fetalclip_nb.profiles import DataSource, Profile, load_profile
from fetalclip_nb.workflow import bench_command

NOTEBOOK_FAILED, USAGE_ERROR, UNEXPECTED, STOPPED = 1, 2, 3, 143

_ENDS = {
    KeyboardInterrupt: (130, "Stopped by Ctrl-C", "run it again: what is finished is kept"),
    OSError: (USAGE_ERROR, "Reading or writing failed", "make room, or change names or rights"),
    UnicodeError: (USAGE_ERROR, "Text has another encoding", "write names and texts in UTF-8"),
    MemoryError: (USAGE_ERROR, "Memory does not suffice", "take fewer or smaller images"),
    BaseException: (UNEXPECTED, "Unexpected error", "report what it shows with --debug"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; whatever ends it is one sentence, after the trace with ``--debug``.

    Args:
        arguments: Words of the command line; those of the process when None.

    Returns:
        0, 1 when a notebook failed, an audit found a fault or something is missing, 2 when
        something could not be used, 3 after an error that nobody foresaw, 130 after Ctrl-C, 141
        when nobody reads the standard output any more.

    Raises:
        SystemExit: With 143 on SIGTERM, so that all is cleared away; with 0 or 2 by argparse.
    """
    words = sys.argv[1:] if arguments is None else [*arguments]
    # Of a closed stream: notes must not go to the other one, nor answers get lost in silence.
    sys.stdout = sys.stdout or Path(os.devnull).open()  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    codecs.register_error("json", lambda e: (json.dumps(e.object[e.start : e.end])[1:-1], e.end))
    with contextlib.suppress(AttributeError, ValueError):  # a notebook's stream, or its thread
        sys.stdout.reconfigure(errors="json")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
    try:
        options = _parser().parse_args(words)
        code = options.run(options)
        sys.stdout.flush()
    except BaseException as error:  # a panic in Rust is no Exception
        code = _ended(error, words)
    return code


def _ended(error: BaseException, words: Sequence[str]) -> int:
    """Say what has ended a command; its exit code."""
    file = "standard output" if _lost(error) else as_text(getattr(error, "filename", None) or "")
    if isinstance(error, SystemExit):
        raise error
    if "--debug" in words or "FETALCLIP_NB_DEBUG" in os.environ:
        sys.excepthook(type(error), error, error.__traceback__)
    if isinstance(error, FetalClipError):
        return _report(error, USAGE_ERROR)
    if isinstance(error, BrokenPipeError) and file == "standard output":
        return 141
    code, what, fix = next(end for kind, end in _ENDS.items() if isinstance(error, kind))
    doing = " ".join(["fetalclip-nb", *(word for word in words if "@" not in word)])  # no password
    where = f"{file[:300]}{' in ' if file else ''}`{doing[:300]}`"
    return _report(FetalClipError(what, where=where, found=reason(error), fix=fix), code)


def _lost(error: BaseException) -> bool:
    """Whether standard output takes nothing any more; what waits for it is thrown away."""
    try:
        sys.stdout.write("\n" if isinstance(error, OSError) and error.filename is None else "")
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _report(error: FetalClipError, code: int) -> int:
    with contextlib.suppress(OSError):
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fetalclip-nb", description="Reproduce FetalCLIP, step by step or all at once."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    says = "say what images show, in probabilities of sentences"
    predict_command.add_arguments(_add(commands, "predict", says, predict_command.main))

    says = "find images by a sentence or an image"
    search_command.add_arguments(_add(commands, "search", says, search_command.main))

    says = "look for repeats, contradictions and odd names in a data set"
    audit_command.add_arguments(_add(commands, "audit", says, audit_command.main))

    says = "a model of any kind through every experiment that it can do: a row of scores"
    bench_command.add_arguments(_add(commands, "bench", says, bench_command.main))

    says = "set two runs side by side: differences, intervals, and what is told apart"
    compare_command.add_arguments(_add(commands, "compare", says, compare_command.main))

    data = _add(commands, "data", "draw a profile's phantoms or download its data", prepare_data)
    _add_profile(data)
    add_verify(data)
    data.add_argument("names", nargs="*", metavar="NAME", help="data sets (default: all)")

    embed = _add(commands, "embed", "embed a data set once and cache it", embed_data)
    _add_profile(embed)
    add_verify(embed)
    embed.add_argument("--model", action="append", help="model (default: all of the profile)")
    embed.add_argument("--data", action="append", help="data set (default: all of the profile)")

    run = _add(commands, "run", "execute notebooks with a profile's parameters", run_notebooks)
    _add_profile(run)
    add_verify(run)
    run.add_argument("names", nargs="*", metavar="NOTEBOOK", help="names (default: all)")
    run.add_argument("--force", action="store_true", help="run what is up to date, too")
    says = "say what it would take here, after timing each model for ten seconds; run nothing"
    run.add_argument("--dry-run", action="store_true", help=says)

    says = "check the executed notebooks and build the book"
    _add_profile(_add(commands, "book", says, make_book))

    download = _add(commands, "download", "fetch a registered file set", download_files)
    download.add_argument("name", metavar="NAME", help="name in downloads/registry.yaml")
    download.add_argument("--folder", help="where to (default: where models look)")
    download.add_argument("--accept-hash-mismatch", action="store_true", help="trust another file")
    download.add_argument("--base-url", help="mirror, in place of the registered host")
    says = "say what would be fetched, and the room for it; fetch nothing"
    download.add_argument("--dry-run", action="store_true", help=says)

    says = "say what this machine offers, whether the model loads and what a profile lacks"
    _add_profile(_add(commands, "doctor", says, doctor))

    says = "train the shipped model again"
    pretraining.add_arguments(_add(commands, "pretrain", says, pretraining.main))
    return parser


def _add(commands, name: str, text: str, run: Callable) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.add_argument("--debug", action="store_true", help="show the trace of an error")
    command.set_defaults(run=run)
    return command


def _add_profile(command: argparse.ArgumentParser) -> None:
    command.add_argument("--profile", default="demo", help="name or YAML file (default: demo)")


def prepare_data(options: argparse.Namespace) -> int:
    """Put data in place and read each set once, so that bad data show up before any work."""
    from fetalclip_nb.data.kinds import KINDS, load_dataset
    from fetalclip_nb.data.sources import prepare
    from fetalclip_nb.workflow.absent import absent_data

    remember_in(project_root() / "build" / "cache", verify=options.verify)
    profile = load_profile(options.profile)
    for name, source in _sources(profile, options.names).items():
        try:
            folder = prepare(source)
        except DownloadError as error:
            if not profile.leaves_out:
                raise
            _report(error, USAGE_ERROR)
        if name in (lacking := absent_data(profile)):
            print(f"{name}: left out, {lacking[name]}")
            continue
        if source.kind not in KINDS:
            print(f"{name}: {shown(folder)}")
            continue
        dataset = load_dataset(source.kind, folder)
        patients = dataset.table["patient"].nunique()
        print(f"{name}: {len(dataset)} images of {patients} patients in {shown(folder)}")
    return 0


def embed_data(options: argparse.Namespace) -> int:
    """Fill the cache for some or all pairs of model and data set."""
    from fetalclip_nb.data.kinds import KINDS, load_dataset
    from fetalclip_nb.models.embed import image_embeddings
    from fetalclip_nb.models.model import load_model
    from fetalclip_nb.workflow.absent import absent_data, note_model

    profile, cache = load_profile(options.profile), project_root() / "build" / "cache"
    remember_in(cache, verify=options.verify)
    datasets = {
        name: load_dataset(source.kind, source.root)
        for name, source in _sources(profile, options.data).items()
        if source.kind in KINDS and name not in absent_data(profile)
    }
    for spec in options.model or profile.models:
        try:
            model = load_model(spec, device=profile.device, precision=profile.precision)
        except ModelError as error:
            if not profile.leaves_out:
                raise
            note_model(profile, spec, error)
            print(f"{spec}: left out. {error}")
            continue
        note_model(profile, spec, None)
        for name, dataset in datasets.items():
            embedded = image_embeddings(model, dataset, cache_dir=cache)
            print(f"{model.name} on {name}: {embedded.vectors.shape}")
    return 0


def run_notebooks(options: argparse.Namespace) -> int:
    """Execute notebooks and say what became of each, or what they would take."""
    from fetalclip_nb.workflow.runner import require_success, run_profile, summary

    if options.dry_run:
        from fetalclip_nb.workflow import rates

        profile = load_profile(options.profile)
        table = rates.table(profile, options.names)
        whole = dict.fromkeys(("images", "sentences", "decoder steps"), "{:,.0f}".format)
        if table.empty:  # of chapters that look at a few images, or at what others have left
            print("minutes in all: few")
        else:
            print(table.to_string(index=False, formatters=whole, float_format="{:,.1f}".format))
            print(f"minutes in all: {table['minutes'].sum():,.0f}, GB on disk: ", end="")
            print(f"{table['GB on disk'].sum():,.1f}")
        return _say_lacking(profile)
    remember_in(project_root() / "build" / "cache", verify=options.verify)
    outcomes = run_profile(load_profile(options.profile), options.names, force=options.force)
    print(summary(outcomes))
    try:
        require_success(outcomes)
    except FetalClipError as error:
        return _report(error, NOTEBOOK_FAILED)
    return 0


def make_book(options: argparse.Namespace) -> int:
    """Build the book of a profile."""
    from fetalclip_nb.workflow.build import build_book

    print(shown(build_book(load_profile(options.profile))))
    return 0


def download_files(options: argparse.Namespace) -> int:
    """Fetch what the registry knows, to where models and profiles look for it."""
    from fetalclip_nb.downloads.fetch import fetch, prepare_dataset, to_fetch
    from fetalclip_nb.downloads.registry import registered

    entry = registered(options.name)
    default = models_folder() if entry.kind == "model" else project_root() / "build" / "data"
    fetcher = prepare_dataset if entry.layout else fetch
    print(f"{entry.title}: {entry.licence}. Cite: {entry.citation}")
    folder = options.folder or default / entry.name
    if options.dry_run:
        left = to_fetch(entry, folder)
        for file in left:
            print(f"{file.path}: {file.bytes or 'unknown number of'} bytes from {file.url}")
        known = sum(file.bytes or 0 for file in left) / 1e9
        files = f"{len(left)} file{'s' * (len(left) != 1)}, {known:.2f} GB"
        print(f"{files}, to {shown(folder)}; {_free_gb(folder)}")
        return NOTEBOOK_FAILED if left else 0
    trust = {"accept_hash_mismatch": options.accept_hash_mismatch}
    path = fetcher(entry.name, folder, **trust, base_url=options.base_url)
    print(shown(path))
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Versions, device, and a first sentence encoded by the shipped model."""
    import platform
    from importlib import metadata

    import torch

    from fetalclip_nb.models.model import load_model

    print(f"fetalclip-nb {__version__}, Python {platform.python_version()}, {sys.platform}")
    for name in ("torch", "open_clip_torch", "papermill", "jupyter-book", "snakemake"):
        found = importlib.util.find_spec(name.replace("-", "_").removesuffix("_torch"))
        print(f"  {name} {metadata.version(name) if found else 'not installed'}")
    print(f"  {torch.get_num_threads()} threads, CUDA {torch.version.cuda or 'not built in'}")
    model = load_model("phantomclip")
    shape = model.encode_text(["an ultrasound image of a fetal head"]).shape
    print(f"phantomclip loads on {model.device} in {model.precision}: text embedding {shape}")
    if model.device.startswith("cuda"):
        free, whole = (bytes_ / 1e9 for bytes_ in torch.cuda.mem_get_info())
        print(f"  {torch.cuda.get_device_name()}: {free:.1f} of {whole:.1f} GB free")
    return _say_lacking(load_profile(options.profile))


def _say_lacking(profile: Profile) -> int:
    """Print what a profile goes without here; 1 if something is missing, else 0."""
    from fetalclip_nb.workflow import estimate

    missing = estimate.lacking(profile)
    said = "is not whole here" if missing else "has all that it needs here"
    print(f"profile {profile.name} {said}; {_free_gb(profile.folder)}")
    for line in [*missing, *estimate.without(profile)]:
        print(line)
    return NOTEBOOK_FAILED if missing else 0


def _free_gb(folder: Path | str) -> str:
    """Room on the disk of a folder, which need not exist."""
    path = next(path for path in (expanded(folder), *expanded(folder).parents) if path.exists())
    return f"{shutil.disk_usage(path).free / 1e9:.1f} GB free"


def _sources(profile: Profile, names: Sequence[str] | None) -> dict[str, DataSource]:
    unknown = [name for name in names or () if name not in profile.data]
    what, known = "The profile has no such data set", listing(profile.data)
    refuse(unknown, what, error=ProfileError, where=profile.path, expected=known)
    return {name: profile.data[name] for name in names or profile.data}


if __name__ == "__main__":
    sys.exit(main())
