"""Outlines lie where the regions are, and can be told apart without their colours."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from fetalclip_nb.experiments.segmentation.outlines import draw_outlines, structure_lines

SIDE = 40


@pytest.fixture
def axis(figure_style):
    _, axis = plt.subplots()
    axis.imshow(np.zeros((SIDE, SIDE)))
    return axis


def regions(*boxes):
    """Bool (C, SIDE, SIDE), each True in rows top..bottom and columns left..right; or empty."""
    masks = np.zeros((len(boxes), SIDE, SIDE), bool)
    for mask, box in zip(masks, boxes, strict=True):
        if box:
            top, bottom, left, right = box
            mask[top : bottom + 1, left : right + 1] = True
    return masks


def drawn(axis):
    """Style and extent (left, right, top, bottom) of each outline."""
    found = []
    for lines in axis.collections:
        ends = lines.get_paths()[0].get_extents()
        solid = lines.get_linestyle()[0][1] is None
        found.append((solid, [float(end) for end in (ends.x0, ends.x1, ends.y0, ends.y1)]))
    return found


def test_annotated_is_solid_and_predicted_dashed_around_the_pixels(axis):
    draw_outlines(axis, regions((10, 14, 20, 29)), regions((11, 15, 21, 30)))
    assert drawn(axis) == [(True, [19.5, 29.5, 9.5, 14.5]), (False, [20.5, 30.5, 10.5, 15.5])]
    first, second = (lines.get_edgecolor()[0] for lines in axis.collections)
    assert first.tolist() == second.tolist()
    assert not axis.texts


def test_outline_of_a_region_at_the_edge_is_closed(axis):
    draw_outlines(axis, regions((0, SIDE - 1, 0, SIDE - 1)), regions(None))
    vertices = axis.collections[0].get_paths()[0].vertices
    assert vertices[0].tolist() == vertices[-1].tolist()
    assert drawn(axis) == [(True, [-0.5, SIDE - 0.5, -0.5, SIDE - 0.5])]


def test_an_absent_structure_draws_nothing_and_the_others_keep_number_and_colour(axis):
    true = regions(None, None, (5, 9, 5, 9), None)
    draw_outlines(axis, true, regions((20, 25, 20, 25), None, None, None))
    assert [solid for solid, _ in drawn(axis)] == [False, True]
    assert [text.get_text() for text in axis.texts] == ["1", "3"]
    lines = structure_lines(["a", "b", "c", "d"])
    shown = [tuple(lines.get_edgecolor()[0][:3]) for lines in axis.collections]
    assert shown == [lines[0].get_color(), lines[2].get_color()]


def test_numbers_stand_on_their_outlines_and_apart(axis):
    true = regions((5, 34, 5, 34), (6, 33, 6, 33), (15, 20, 15, 20))
    draw_outlines(axis, true, true)
    places = np.array([text.get_position() for text in axis.texts])
    for place, lines in zip(places, axis.collections[::2], strict=True):
        vertices = lines.get_paths()[0].vertices
        assert (np.abs(vertices - place).sum(axis=1) < 1e-9).any()
    gaps = np.linalg.norm(places[:, None] - places, axis=-1)[np.triu_indices(3, 1)]
    assert gaps.min() > 10


@pytest.mark.parametrize("box", [(10, 14, 20, 29), (0, 3, 30, 39), (1, 38, 1, 38), (7, 7, 9, 9)])
def test_image_is_cropped_to_a_square_around_all_outlines(axis, box):
    top, bottom, left, right = box
    draw_outlines(axis, regions((top, bottom, left, left)), regions((top, bottom, left, right)))
    (x0, x1), (y1, y0) = axis.get_xlim(), axis.get_ylim()
    assert x1 - x0 == pytest.approx(y1 - y0)
    wanted = max(right - left, bottom - top) + 1 + 2 * 0.08 * SIDE
    assert x1 - x0 == pytest.approx(min(SIDE, wanted))
    assert -0.5 <= x0 <= left - 0.5 and right + 0.5 <= x1 <= SIDE - 0.5
    assert -0.5 <= y0 <= top - 0.5 and bottom + 0.5 <= y1 <= SIDE - 0.5
    if box == (10, 14, 20, 29):
        assert (x0 + x1, y0 + y1) == pytest.approx((left + right, top + bottom))


def test_image_without_structures_is_shown_whole(axis):
    draw_outlines(axis, regions(None, None), regions(None, None))
    assert not axis.collections and not axis.texts
    assert (axis.get_xlim(), axis.get_ylim()) == ((-0.5, SIDE - 0.5), (SIDE - 0.5, -0.5))


def test_legend_names_structures_as_people_read_them():
    texts = [line.get_label() for line in structure_lines(["abdominal_circumference", "LV"])]
    assert texts == ["1  abdominal circumference", "2  LV", "annotated", "predicted"]
    (head, annotated, predicted) = structure_lines(["head"])
    assert head.get_label() == "head"
    assert (annotated.get_linestyle(), predicted.get_linestyle()) == ("-", "--")


def test_nine_structures_have_nine_colours_and_more_are_still_numbered():
    lines = structure_lines([f"s{i}" for i in range(12)])
    assert len({line.get_color() for line in lines[:9]}) == 9
    assert [line.get_label().split()[0] for line in lines[:12]] == [str(i + 1) for i in range(12)]
