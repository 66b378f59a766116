"""``fetalclip-nb bench``: a model through every experiment that it can do."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fetalclip-nb bench``."""
    parser.add_argument("model", metavar="MODEL", help="as notebooks take it: NAME, NAME=SOURCE")
    says = "data in place of the phantoms: planes or a manifest, heads (HC18), African planes"
    parser.add_argument("--data", action="append", metavar="FOLDER", help=says)
    says = "JSON file of sentences for the classes of a manifest: class -> sentences"
    parser.add_argument("--prompts", metavar="FILE", help=says)
    says = "sizes and data of the experiments (default: bench)"
    parser.add_argument("--profile", default="bench", help=says)
    says = "folder of the rows of all models (default: build/bench)"
    parser.add_argument("--out", metavar="FOLDER", help=says)


def main(options: argparse.Namespace) -> int:
    """Run the experiments, print the model's row and add it to the table."""
    from fetalclip_nb.data.sources import prepare
    from fetalclip_nb.models.model import load_model
    from fetalclip_nb.models.names import model_name
    from fetalclip_nb.paths import project_root, resolve, shown
    from fetalclip_nb.profiles import load_profile
    from fetalclip_nb.workflow.bench import ROWS, add_row, row_text, tailored
    from fetalclip_nb.workflow.runner import require_success, run_profile

    base = load_profile(options.profile)
    model = load_model(options.model, device=base.device, precision=base.precision)
    profile = tailored(base, options.model, model, options.data or (), options.prompts)
    del model
    for source in profile.data.values():
        prepare(source)
    outcomes = run_profile(profile)
    for outcome in outcomes:
        print(f"{outcome.notebook:20} {outcome.status:11} {outcome.seconds:6.1f} s", flush=True)
    if all(outcome.status == "failed" for outcome in outcomes):
        require_success(outcomes)
    out = resolve(options.out) if options.out else project_root() / "build" / "bench"
    print(row_text(add_row(profile, out), model_name(options.model)))
    require_success(outcomes)  # after what there is: a size that does not fit ends one chapter
    print(f"All rows: {shown(out / ROWS)}; compare them: fetalclip-nb compare A B")
    return 0
