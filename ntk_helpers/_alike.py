"""Whether networks can be trained in one batch: they differ in nothing but their parameters."""

from collections.abc import Iterable, Sequence

from torch import nn

from ntk_helpers import _checks


def require_alike(models: Sequence[nn.Module]) -> list[nn.Module]:
    """Return `models` as a list, or say which of them is not built as the first.

    Raises:
        TypeError: If `models` is not a list of modules.
        ValueError: If it is empty, or they differ in more than their parameters' values.
    """

    def recipe(model):
        for name, p in model.named_parameters():
            yield name, p.shape, p.dtype, p.device, p.requires_grad
        for part in model.modules():
            yield type(part), [i for i in vars(part).items() if isinstance(i[1], str | int | float)]

    if isinstance(models, nn.Module) or not isinstance(models, Iterable):
        raise TypeError(
            f"models must be a list of modules; got {type(models).__name__}. [model] makes one."
        )
    models = list(models)
    if not models:
        raise ValueError("models is empty: give at least one network.")
    for e, model in enumerate(models):
        _checks.trainable_parameters(model)
        if list(recipe(model)) != list(recipe(models[0])):
            raise ValueError(
                f"models[{e}] is not built as models[0]. Networks that are trained in one batch "
                f"may differ in their parameters' values only."
            )
    return models
