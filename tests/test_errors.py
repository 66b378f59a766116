import pytest

from fetalclip_nb import errors


def test_message_is_one_paragraph_with_its_five_parts():
    error = errors.DataError("It broke.", where="a", expected=0, found="c.", fix="d")
    assert str(error) == "It broke. Where: a. Expected: 0. Found: c. What to do: d."


def test_empty_parts_are_left_out():
    assert str(errors.ModelError("It broke", found="x")) == "It broke. Found: x."


def test_line_breaks_of_a_file_or_its_name_are_blanks():
    assert str(errors.DataError("It broke", where="a\nb", fix="c\r\nd")) == (
        "It broke. Where: a b. What to do: c d."
    )


def test_listing_counts_what_it_does_not_name():
    assert errors.listing(range(12)).endswith("9 (first 10 of 12)")


def test_one_empty_name_is_refused_like_any_other():
    with pytest.raises(errors.DataError, match=r"Found: ''\."):
        errors.refuse([""], "Names are empty")
