"""What several tests of phantoms watch."""

import pytest

from fetalclip_nb.phantoms.picture import draw


@pytest.fixture
def drawn_by(monkeypatch):
    """Collects the phantoms that a module draws."""

    def watch(module):
        phantoms = []

        def recorded(*args, **options):
            phantoms.append(draw(*args, **options))
            return phantoms[-1]

        monkeypatch.setattr(module, "draw", recorded)
        return phantoms

    return watch
