"""Tell what the kernel of a network of yours says of its run, and show it as a page."""

from collections.abc import Callable
from html import escape

from torch import Tensor, nn

from ntk_helpers.classroom import _page
from ntk_helpers.theory.diagnose import Measured, measure_run

CELL = '<td style="text-align: left; vertical-align: top">{}</td>'
HEAD = "".join(f"<th>{name}</th>" for name in ("", "measured", "what it means", "condition"))
PAGE = '<div class="ntk-diagnosis"><p>{title}</p><table><tr>{head}</tr>{rows}</table></div>'


class Diagnosis(Measured):
    """The numbers of a run; a notebook shows them as a page, print as text."""

    def __repr__(self) -> str:
        """Return the page as text."""
        told = [
            f"{what}: {value}\n  {meaning}\n  Condition: {condition}"
            for what, value, meaning, condition in _page.lines(self)
        ]
        return "\n".join([_page.title(self), *told])

    def _repr_html_(self) -> str:
        """Return the page for a notebook."""
        rows = []
        for what, value, *rest in _page.lines(self):
            cells = [f"<b>{escape(what)}</b>", f"<b>{escape(value)}</b>", *map(escape, rest)]
            rows.append(f"<tr>{''.join(map(CELL.format, cells))}</tr>")
        return PAGE.format(title=escape(_page.title(self)), head=HEAD, rows="".join(rows))


def diagnose(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss: str | Callable[[Tensor, Tensor], Tensor],
    learning_rate: float,
    steps: int | None = None,
) -> Diagnosis:
    """Return what the tangent kernel says of a run of yours, and whether it may be trusted.

    With the outputs f of all points, K = J Jᵀ and H = ∇²L(f), both at the start, the run
    f ← f − η K ∇L(f) is stable for η < 2 / λ_max(H^½ K H^½), and each eigenvector of this
    matrix is learned at its own rate. With `steps`, a copy of the model is trained by plain
    gradient descent on all points, and compared with this forecast; without, nothing is trained.

    `model` is not changed. It is looked at in the mode that it is in: call model.eval() before.

    Derived in notebooks/08_your_network.ipynb, "What does the kernel say of my run?" and "When
    may I trust it?".

    Args:
        model: Any module that treats rows independently, (n, …) → (n, k) or (n,).
        x: (n, …) inputs, of any dtype that the model takes.
        y: Targets, a row for each point: (n, k) or (n,) numbers; what the loss takes.
        loss: "squared" is L = (1/N) Σ ½‖f − y‖². Else a function of outputs and targets that
            returns one number, such as torch.nn.functional.cross_entropy. (PyTorch's mse_loss is
            2/k times "squared" for k outputs, so its largest stable rate is k/2 times as large.)
        learning_rate: η of the run, for the loss as it is.
        steps: Steps of the run; None looks at the start alone.

    Returns:
        The measured numbers, shown as a page: each with its meaning and its condition. The kernel
        has n·k rows: 2,000 take some ten seconds, and time grows with their cube.

    Raises:
        ValueError: If the kernel is zero, or the loss is not one number that can be differentiated.
        MemoryError: If the kernel and its eigenvectors do not fit: take a part of the points.

    Example:
        >>> net = nn.Linear(1, 1, bias=False)  # f(x) = θ x, so K(x, x') = x x', and λ_max = 1 + 4
        >>> x = net.weight.new_tensor([[1.0], [2.0]])
        >>> page = diagnose(net, x, 3 * x, loss="squared", learning_rate=0.1)
        >>> round(page.max_learning_rate, 4)  # 2N/λ_max
        0.8
    """
    options = {"loss": loss, "learning_rate": learning_rate, "steps": steps}
    return Diagnosis(**vars(measure_run(model, x, y, **options)))
