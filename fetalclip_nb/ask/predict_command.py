"""``fetalclip-nb predict``: images and sentences in, a table, JSON, CSV or a picture out.

Torch is imported only when the words of the command have been checked.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fetalclip_nb.ask.answers import (
    FORMATS,
    caveats,
    require_picture,
    require_writable,
    shortened,
    shown_path,
)
from fetalclip_nb.data.prompts import COLUMNS, load_prompts, require_choice, sentence_classes
from fetalclip_nb.errors import ParameterError, listing

if TYPE_CHECKING:
    import pandas as pd

MAPS = ("gradcam", "scorecam", "layercam", "none")

_HEADING = 24  # letters of a class's name above a column

_CHOICE = (
    "The probabilities compare the given classes with each other only: one of them always wins."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fetalclip-nb predict``."""
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="files, folders (with all in them), patterns"
    )
    classes = parser.add_mutually_exclusive_group()
    classes.add_argument(
        "--prompts",
        default="planes",
        metavar="FILE",
        help="planes, brain or a JSON file: class -> list of sentences (default: planes)",
    )
    classes.add_argument(
        "--prompt",
        action="append",
        metavar="SENTENCE",
        help="a class of one sentence; give it at least twice",
    )
    parser.add_argument("--model", default="phantomclip", help="(default: phantomclip)")
    parser.add_argument(
        "--format", choices=FORMATS, help="(default: as --output ends, otherwise table)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there, not to stdout")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="write images, maps and bars (.png, .pdf)"
    )
    parser.add_argument("--map", choices=MAPS, help="map in the picture (default: gradcam)")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable images out")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--precision", default="auto", help="auto, fp32, tf32 or bf16")


def main(options: argparse.Namespace) -> int:
    """Predict, and write the answer in the form that was asked for.

    Standard output carries the answer and nothing else; notes go to standard error.

    Raises:
        DataError: A word that leads to no image, a prompt file that cannot be used.
        ImageError: Images that cannot be read, unless they are to be skipped.
        ParameterError: Fewer than two classes, a file that cannot be written.
        ModelError: A model that cannot be loaded, or that gives no map for a picture.
    """
    from fetalclip_nb.data.own_images import image_files, outlines_left_out

    prompts = sentence_classes(options.prompt) if options.prompt else load_prompts(options.prompts)
    require_choice(prompts, where="--prompt" if options.prompt else f"--prompts {options.prompts}")
    files = image_files(options.images)
    _require_targets(options, files)

    from fetalclip_nb.ask.predict import predict, require_map
    from fetalclip_nb.models.model import load_model

    model = load_model(options.model, device=options.device, precision=options.precision)
    method = options.map or "gradcam"
    if options.picture:
        require_map(model, method)
    table = predict(model, files, prompts, skip_bad=options.skip_bad)
    answered = set(table["image"])
    skipped = [shown_path(file) for file in files if str(file) not in answered]
    shown = table.assign(image=[shown_path(file) for file in table["image"]])
    text = formatted(shown, options.format or _format_of(options.output))
    if options.output:
        options.output.write_text(text, "utf-8")
    else:
        sys.stdout.write(text)
    if options.picture:
        _write_picture(options.picture, model, table, prompts, method)
    _note(model.source, skipped, outlines=len(outlines_left_out(options.images, files)))
    return 0


def formatted(table: "pd.DataFrame", form: str) -> str:
    """Predictions as text.

    Args:
        table: As given by `predictor.predict`.
        form: "table" (to read: percent; classes as rows for a single image, as columns for
            more), "json" (a list of objects: image, prediction, probabilities by class) or
            "csv" (the table's columns).

    Returns:
        Text that ends with a newline; probabilities from 0 to 1 with six decimals in JSON and
        CSV.
    """
    if form == "csv":
        return table.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    if form == "json":
        records = [_record(row) for row in table.to_dict("records")]
        return json.dumps(records, indent=1, ensure_ascii=False) + "\n"
    return _one_image(table) if len(table) == 1 else _many_images(table)


def _record(row: dict) -> dict:
    chances = {name: round(float(row[name]), 6) for name in row if name not in COLUMNS}
    return {name: row[name] for name in COLUMNS} | {"probabilities": chances}


def _one_image(table: "pd.DataFrame") -> str:
    image, prediction, *chances = table.iloc[0]
    names = table.columns[len(COLUMNS) :]
    width = max(map(len, names))
    rows = sorted(zip(chances, names, strict=True), key=lambda row: -row[0])
    lines = [f"{name:{width}}  {100 * chance:5.1f} %" for chance, name in rows]
    return "\n".join([f"{image}: {prediction}", *lines]) + "\n"


def _many_images(table: "pd.DataFrame") -> str:
    names = list(table.columns[len(COLUMNS) :])
    percent = table.assign(**{name: (100 * table[name]).map("{:.1f}".format) for name in names})
    percent["prediction"] = [shortened(name, _HEADING) for name in table["prediction"]]
    heads = [*COLUMNS, *(f"{shortened(name, _HEADING)} (%)" for name in names)]
    return percent.to_string(index=False, header=heads) + "\n"


def _format_of(output: Path | None) -> str:
    ending = output.suffix.lower().removeprefix(".") if output else ""
    return ending if ending in FORMATS else "table"


def _require_targets(options: argparse.Namespace, files: Sequence[Path]) -> None:
    """Refuse files that cannot be written, before the model is loaded."""
    if options.map and not options.picture:
        raise ParameterError("A map is part of a picture", where="--map", fix="add --picture FILE")
    if options.output:
        ending = _format_of(options.output)
        if options.format and ending not in ("table", options.format):
            raise ParameterError(
                "Ending of the file and format disagree",
                where="--output, --format",
                found=f"{options.output} and {options.format}",
                fix=f"leave --format out, or let the file end in .{options.format}",
            )
        require_writable(options.output, "--output", inputs=files)
    if options.picture:
        require_picture(options.picture, "--picture", inputs=files)


def _write_picture(
    target: Path, model, table: "pd.DataFrame", prompts: dict[str, list[str]], method: str
) -> None:
    import matplotlib as mpl

    mpl.use("Agg")  # a file is written: no window, on machines without a display too
    from fetalclip_nb.ask.predict import SHOWN_IMAGES, picture

    picture(model, table, prompts, method=method).savefig(target)
    if len(table) > SHOWN_IMAGES:
        print(f"The picture shows the first {SHOWN_IMAGES} images.", file=sys.stderr)


def _note(source: str, skipped: Sequence[str], *, outlines: int) -> None:
    """Say on standard error what a reader of the numbers has to know."""
    if outlines:
        count = f"{outlines} outline{'s' * (outlines > 1)}"
        print(f"Left out {count} (*_Annotation).", file=sys.stderr)
    if skipped:
        count = f"{len(skipped)} image{'s' * (len(skipped) > 1)}"
        print(f"Skipped {count}: {listing(skipped)}", file=sys.stderr)
    print("\n".join([_CHOICE, *caveats(source)]), file=sys.stderr)
