"""One file over HTTP, going on where an interrupted transfer stopped.

Weights on Hugging Face come this way too: huggingface_hub 1 and later delete the partial file of
an interrupted call, and 1.7 GB would start again from the first byte.
"""

import shutil
from pathlib import Path

from fetalclip_nb.errors import DownloadError

_CHUNK = 1 << 16  # a broken line loses at most this much

_TIMEOUT_S = 30

_PROGRESS_FROM = 5 << 20

MAX_BYTES = 16 << 30  # of a file whose size nobody has published


def transfer(url: str, part: Path, *, size: int | None, resume: bool) -> None:
    """Bring a file to disk; what arrived before an interruption stays for the next call.

    Args:
        url: Its address.
        part: Where it grows; not yet checked when this returns.
        size: Its size in bytes, after which no more is taken; None if unknown (`MAX_BYTES`).
        resume: Whether to add to what is there. Only for files with a known hash, which tells
            whether the pieces belong together.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    done = part.stat().st_size if part.is_file() else 0
    if done and (not resume or size is None or done > size):
        part.unlink()
        done = 0
    if size is not None and done == size:
        return
    _require_space(part, (size or 0) - done)
    _request(url, part, done, size=size, resume=resume)


def _request(url: str, part: Path, done: int, *, size: int | None, resume: bool) -> None:
    import requests
    from tqdm import tqdm

    headers = {"Accept-Encoding": "identity", "User-Agent": "fetalclip-nb"}
    if done:
        headers["Range"] = f"bytes={done}-"
    quiet, limit = (size or _PROGRESS_FROM) < _PROGRESS_FROM, size or MAX_BYTES
    shown = url.rpartition("@")[2]  # without name and password
    try:
        with (
            part.open("ab") as stream,
            requests.get(url, headers=headers, timeout=_TIMEOUT_S, stream=True) as response,
            tqdm(total=size, initial=done, unit="B", unit_scale=True, disable=quiet) as progress,
        ):
            response.raise_for_status()
            if response.status_code == requests.codes.ok:  # Range ignored: all of it comes
                done = stream.truncate(0)
            for chunk in response.iter_content(_CHUNK):
                done += stream.write(chunk)
                progress.update(len(chunk))
                if done > limit:  # as chunks or packed, whatever was announced
                    raise _refused(shown, f"more than {limit} bytes")
    except requests.HTTPError as error:
        answer = error.response
        if answer.status_code == requests.codes.range_not_satisfiable or not part.stat().st_size:
            part.unlink()
        raise _refused(shown, f"HTTP {answer.status_code} {answer.reason}") from None
    except (requests.RequestException, ValueError) as error:  # that one: a header is no number
        raise _interrupted(shown, part, error, resume) from None
    except OSError as error:
        raise DownloadError(
            "Download cannot be written",
            where=part,
            found=_cause(error),
            fix="check space and permissions, then run it again",
        ) from None


def _refused(url: str, found: str) -> DownloadError:
    return DownloadError(
        "The server does not send the file",
        where=url,
        found=found,
        fix="try again later; if it stays so, fetch the file in a browser and put it in place",
    )


def _interrupted(url: str, part: Path, error: Exception, resume: bool) -> DownloadError:
    done = part.stat().st_size
    if not done:
        part.unlink()
        what, fix = "No file came", "check the network and the proxy (HTTPS_PROXY), then try again"
    else:
        what = "Download broke off"
        fix = "run it again: it goes on from there" if resume else "run it again"
    return DownloadError(what, where=url, found=f"{done} bytes, then {_cause(error)}", fix=fix)


def _require_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed:
        raise DownloadError(
            "Not enough space on the disk",
            where=part.parent,
            expected=f"{needed} bytes for {part.name}",
            found=f"{free} bytes free",
            fix="free some space or choose another folder",
        )


def _cause(error: BaseException) -> str:
    """The innermost cause in one line, without the address: it may hold a password."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    said = "" if isinstance(error, ValueError) else f": {error}"  # that repeats an address
    return f"{type(error).__name__}{said}".splitlines()[0][:200]
