"""Helper package of the fetalclip-nb research book.

Nothing heavy is imported here: ``import fetalclip_nb`` takes milliseconds, and
torch or open_clip are loaded only by the modules that compute with them.
"""

__version__ = "0.1.0"
