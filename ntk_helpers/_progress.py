"""Progress bars that tests and committed notebooks can do without."""

import os

from tqdm import auto


def tqdm(*args, disable: bool = False, **options) -> auto.tqdm:
    """Return tqdm's progress bar, which shows nothing where TQDM_DISABLE is set.

    tqdm itself overlooks that variable in notebooks, and wherever `disable` is given.

    Args:
        *args: As for tqdm.
        disable: Show nothing in any case.
        **options: As for tqdm.
    """
    return auto.tqdm(*args, disable=disable or bool(os.environ.get("TQDM_DISABLE")), **options)
