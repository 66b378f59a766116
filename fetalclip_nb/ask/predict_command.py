"""``fetalclip-nb predict``: images and sentences in, a table, JSON, CSV or a picture out.

Torch is imported only when the words of the command have been checked.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fetalclip_nb.ask import answers
from fetalclip_nb.ask.answers import shortened
from fetalclip_nb.data.prompts import COLUMNS, load_prompts, require_choice, sentence_classes
from fetalclip_nb.errors import ParameterError, listing
from fetalclip_nb.paths import as_text, shown

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
    answers.add_options(
        parser, shown="images, maps and bars", default_format="as --output ends, otherwise table"
    )
    parser.add_argument("--map", choices=MAPS, help="map in the picture (default: gradcam)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there, not to stdout")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable images out")


def main(options: argparse.Namespace) -> int:
    """Predict, and write the answer in the form that was asked for.

    Standard output carries the answer and nothing else; notes go to standard error.
    """
    from fetalclip_nb.data.own_images import image_files

    prompts = sentence_classes(options.prompt) if options.prompt else load_prompts(options.prompts)
    require_choice(prompts, where="--prompt" if options.prompt else f"--prompts {options.prompts}")
    files = image_files(options.images)
    _require_targets(options, files)

    from fetalclip_nb.ask import predict

    model = answers.asked_model(options)
    method = options.map or "gradcam"
    if options.picture:
        predict.require_map(model, method)
    predicted = predict.predict(model, files, prompts, skip_bad=options.skip_bad)
    paths = predicted.table["image"].tolist()
    skipped = [shown(file, Path.cwd()) for file in files if as_text(file) not in paths]
    table = predicted.table.assign(image=[shown(path, Path.cwd()) for path in paths])
    text = formatted(table, options.format or _format_of(options.output))
    if options.output:
        answers.write(options.output, lambda made: made.write_text(text, "utf-8"))
    else:
        sys.stdout.write(text)
    notes = []
    if options.picture:
        draw = partial(predict.picture, model, predicted, method=method)
        answers.save_picture(options.picture, draw)
        if len(predicted.squares) < len(paths):
            notes.append(f"The picture shows the first {len(predicted.squares)} images.")
    even = table.drop(columns=[*COLUMNS]).round(6).nunique(axis=1) == 1
    if even.any():
        notes.append(f"All classes are equally likely for {listing(table['image'][even])}.")
    if skipped:
        count = f"{len(skipped)} image{'s' * (len(skipped) > 1)}"
        notes.append(f"Skipped {count}: {listing(skipped)}")
    answers.note(model.source, *notes, _CHOICE)
    return 0


def formatted(table: "pd.DataFrame", form: str) -> str:
    """Predictions as text; in JSON and CSV probabilities go from 0 to 1 and have six decimals.

    Args:
        table: As given by `predict.predict`, its table.
        form: "table" (to read: percent; classes as rows for a single image, as columns for
            more), "json" (a list of objects: image, prediction, probabilities by class) or
            "csv" (the table's columns).
    """
    if form == "csv":
        return table.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    if form == "json":
        chances = table.drop(columns=[*COLUMNS]).astype(float).round(6).to_dict("records")
        records = table[[*COLUMNS]].assign(probabilities=chances).to_dict("records")
        return json.dumps(records, indent=1, ensure_ascii=False) + "\n"
    return _one_image(table) if len(table) == 1 else _many_images(table)


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
    return ending if ending in answers.FORMATS else "table"


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
        answers.require_writable(options.output, "--output", inputs=files)
    if options.picture:
        answers.require_picture(options.picture, "--picture", inputs=files)
