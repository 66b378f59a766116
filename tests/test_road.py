"""The road: a folder imports only from folders below it, and no chapter imports another."""

import ast
import importlib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fetalclip_nb"
FLOORS = (
    {"cli"},
    {"ask", "audit", "workflow"},
    {"experiments"},
    {"results"},
    {"models", "tasks"},
    {"data"},
    {"downloads", "memory", "phantoms", "stats"},
    {"files", "growth", "profiles"},
    {"errors", "paths"},
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
SCORED_AS = {("pretraining", "gestational_age")}  # the shipped model, as chapter 2 scores
ROOMS = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def parts_of(room: Path) -> tuple[str, ...]:
    """Folder and name of a room, a face as the folder alone."""
    parts = room.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(room: Path) -> set[tuple[str, ...]]:
    """What a room imports from this package, at its top or inside a function, as name parts."""
    found = set()
    for node in ast.walk(ast.parse(room.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fetalclip_nb":
            found |= {(*node.module.split("."), alias.name)[1:] for alias in node.names}
    return found - {("__version__",)}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.relative_to(PACKAGE).as_posix())
def test_a_room_imports_from_below_and_from_its_own_folder(room):
    at = parts_of(room)
    for target in imported(room):
        name = ".".join(target)
        if target[0] != at[0]:
            assert FLOOR[target[0]] > FLOOR[at[0]], f"{name} lies above"
        elif at[0] == "experiments" and len(at) > 1 and target[1] != at[1]:
            assert (at[1], target[1]) in SCORED_AS, f"{name} is another chapter's"


def test_no_circle():
    """Rooms have an order in which each imports only what came before it."""
    rooms = {parts_of(room): room for room in ROOMS}
    needs = {
        at: {name if name in rooms else name[:-1] for name in imported(room)}
        for at, room in rooms.items()
    }
    order = list(TopologicalSorter(needs).static_order())
    assert len(order) == len(rooms)


def test_rooms_import_rooms_and_never_a_face():
    faces = {parts_of(room) for room in ROOMS if room.name == "__init__.py"}
    for room in ROOMS:
        through = [name for name in imported(room) if name[:-1] in faces and not _is_room(name)]
        assert not through, f"{room}: import these from their rooms"


def _is_room(name: tuple[str, ...]) -> bool:
    path = PACKAGE.joinpath(*name)
    return path.with_suffix(".py").is_file() or path.is_dir()


def test_faces_name_what_is_there_and_those_of_chapters_few_names():
    """A face is read name by name when it is asked, so that a wrong one would show late.

    Each name of a chapter is a step of its list, or one of its rooms of tables and figures.
    """
    for room in ROOMS:
        if room.name == "__init__.py":
            face = importlib.import_module(".".join([PACKAGE.name, *parts_of(room)]))
            names = getattr(face, "__all__", ())
            assert len(names) <= 17 or parts_of(room)[0] != "experiments", room
            for name in names:
                assert getattr(face, name) is not None
