"""Check the exercises of lesson 00: which time, which loss, which learning rate."""

from collections.abc import Callable

from ntk_helpers.classroom.exercises._judge import Feedback, draws, judge


def check_flow_time(answer: Callable) -> Feedback:
    """Check `flow_time(learning_rate, steps)`: the time t of gradient flow that descent has reached."""
    return judge(
        answer,
        [(0.05, 400), (2.0, 30)],
        lambda rate, steps: rate * steps,
        {
            "that is the number of steps. Time also counts how long each step is: t = η k.": lambda rate, steps: (
                steps
            ),
            "you divided. A larger learning rate goes further in the same number of steps.": lambda rate, steps: (
                steps / rate
            ),
        },
        "t = η k: twice the rate and half the steps reach the same time.",
    )


def check_loss_gradient(answer: Callable) -> Feedback:
    """Check `loss_gradient(f, y)`: ∂L/∂f of L = (1/N) Σ ½ (f − y)², as (N,)."""
    return judge(
        answer,
        [tuple(draws((5,), (5,))), tuple(draws((3,), (3,), seed=1))],
        lambda f, y: (f - y) / len(f),
        {
            "the 1/N of the mean is missing.": lambda f, y: f - y,
            "the sign is reversed: the gradient points where the loss grows, along f − y.": lambda f, y: (
                (y - f) / len(f)
            ),
            "there is a 2 too much. The loss has ½ (f − y)², torch's MSELoss has no ½.": lambda f, y: (
                2 * (f - y) / len(f)
            ),
            "that is one number; the gradient has one entry for each point.": lambda f, y: (
                f - y
            ).mean(),
        },
        "This vector is what the kernel will multiply.",
    )


def check_mse_rate(answer: Callable) -> Feedback:
    """Check `course_rate(mse_rate, n_outputs)`: the η of the course that equals a rate used with nn.MSELoss."""
    return judge(
        answer,
        [(0.1, 1), (0.3, 10)],
        lambda rate, outputs: 2 * rate / outputs,
        {
            "you went the other way, from the course's loss to MSELoss.": lambda rate, outputs: (
                rate * outputs / 2
            ),
            "MSELoss divides by the number of outputs as well as by N.": lambda rate, outputs: (
                2 * rate
            ),
            "MSELoss has no ½, so its gradient is twice as long.": lambda rate, outputs: (
                rate / outputs
            ),
        },
        "With one output, MSELoss at rate η walks like the course's loss at 2η.",
    )
