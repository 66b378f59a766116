"""``fetalclip-nb audit``: is a data set what it says?"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fetalclip_nb.errors import gathering
from fetalclip_nb.files import slug
from fetalclip_nb.memory import add_verify, remember_in
from fetalclip_nb.paths import project_root, resolve, shown

if TYPE_CHECKING:
    from fetalclip_nb.audit.findings import Finding
    from fetalclip_nb.data.dataset import Dataset

RELEASED = "build/data/fetalclip-released"

FOUND = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fetalclip-nb audit``."""
    parser.add_argument("folder", metavar="DATA", help="a data set, or a folder of images")
    says = "a data set that should share no image with it"
    parser.add_argument("--against", metavar="DATA2", help=says)
    says = f"compare with the authors' split files (in FOLDER; default {RELEASED})"
    parser.add_argument("--official", metavar="FOLDER", nargs="?", const=RELEASED, help=says)
    says = "where the report goes (default: build/audit/NAME)"
    parser.add_argument("--output", metavar="FOLDER", help=says)
    add_verify(parser)


def main(options: argparse.Namespace) -> int:
    """Look at a data set, write the report, and say what was found.

    Returns:
        0 if nothing is wrong, 1 if something is.
    """
    from fetalclip_nb.audit.findings import audit, counts
    from fetalclip_nb.audit.report import write_report

    cache, root = project_root() / "build" / "cache", resolve(options.folder)
    remember_in(cache, verify=options.verify)
    refused, dataset = opened(root)
    against = opened(resolve(options.against))[1] if options.against else None
    official = resolve(options.official) if options.official else None
    print(f"Looking at {len(dataset)} images ...", file=sys.stderr)
    findings = refused + audit(dataset, against, official, cache)
    patients = dataset.table["patient"].nunique()
    looked_at = f"{len(dataset):,} images of {patients:,} {dataset.units}"
    looked_at += f", beside {len(against):,} of {against.root.name}." if against else "."
    output = Path(options.output or project_root() / "build" / "audit" / slug(root.name))
    page = write_report(output, root.name, looked_at, findings)
    for kind, count in counts(findings).items():
        print(f"{count:6,}  {kind}")
    print(f"{'Nothing was found' if not findings else 'Report'}: {shown(page)}")
    return FOUND if any(each.fault for each in findings) else 0


def opened(root: Path) -> tuple[list["Finding"], "Dataset"]:
    """A data set; where its reader refuses it, all reasons and its images alone."""
    from fetalclip_nb.audit.findings import Finding
    from fetalclip_nb.data.own_images import image_files, open_folder, unlabelled, whole_images

    with gathering() as refused:
        dataset = open_folder(root)
    if not refused:
        return [], dataset
    if not root.is_dir():
        raise refused[0]
    images = unlabelled("folder", root, whole_images(image_files([root]), skip_bad=True))
    what = "Refused by the reader: images alone are compared"
    return [Finding(what, str(problem)) for problem in refused], images
