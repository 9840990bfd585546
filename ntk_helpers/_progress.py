"""Progress bars that tests and committed notebooks can do without."""

import os

from tqdm import auto


def tqdm(*args, disable: bool = False, **options) -> auto.tqdm:
    """Return tqdm's progress bar, which shows nothing where TQDM_DISABLE is set.

    tqdm reads that variable itself, but not for its bars in notebooks, nor where `disable` is given.

    Args:
        *args: As for tqdm.
        disable: Show nothing in any case.
        **options: As for tqdm.
    """
    return auto.tqdm(*args, disable=disable or bool(os.environ.get("TQDM_DISABLE")), **options)
