"""Check the exercises of lesson 00: how many steps, which learning rate, how long."""

import math
from collections.abc import Callable

from ntk_helpers.classroom.exercises._feedback import Feedback
from ntk_helpers.classroom.exercises._judge import judge
from ntk_helpers.classroom.exercises._tally import counted


@counted
def check_steps_needed(answer: Callable) -> Feedback:
    """Check `steps_needed(their_rate, their_steps, my_rate)`: steps of my rate up to their time."""
    return judge(
        answer,
        [(0.05, 400, 0.002), (0.25, 30, 0.5)],
        lambda their_rate, steps, my_rate: their_rate * steps / my_rate,
        {
            "that is the time t = η k that your friend reached. How many of your steps make it?": lambda their_rate, steps, my_rate: (
                their_rate * steps
            ),
            "the two rates have changed places: a smaller rate of yours needs more steps.": lambda their_rate, steps, my_rate: (
                my_rate * steps / their_rate
            ),
            "equal numbers of steps reach equal times only with equal rates.": lambda their_rate, steps, my_rate: (
                steps
            ),
            "`//` rounds down, and 20 // 0.002 is 9999: divide with `/`.": lambda their_rate, steps, my_rate: (
                their_rate * steps // my_rate
            ),
            "you multiplied by your rate; each of your steps takes my_rate of the time, so divide.": lambda their_rate, steps, my_rate: (
                their_rate * steps * my_rate
            ),
        },
        "Equal times, nearly equal networks: that is why t = η k is the clock.",
    )


@counted
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
            "both the other way: MSELoss has no ½, so the rate doubles, and it divides by the number of outputs.": lambda rate, outputs: (
                rate / 2
            ),
            "MSELoss has no ½, so its gradient is twice as long.": lambda rate, outputs: (
                rate / outputs
            ),
        },
        "With one output, MSELoss at rate η walks like the course's loss at 2η.",
    )


@counted
def check_half_time(answer: Callable) -> Feedback:
    """Check `half_time(K)`: when a wide network with one training point has gone half of its way."""
    return judge(
        answer,
        [(4.0,), (0.25,)],
        lambda kernel: math.log(2) / kernel,
        {
            "at this time the exponential is 1/e: 63 % of the way. Half is e^(−K t) = 1/2.": lambda kernel: (
                1 / kernel
            ),
            "you solved K t = 1/2. What is halved is the exponential: e^(−K t) = 1/2.": lambda kernel: (
                0.5 / kernel
            ),
            "you multiplied by K. A larger kernel learns faster, so the time is shorter.": lambda kernel: (
                math.log(2) * kernel
            ),
            "the time comes out negative: e^(−K t) = 1/2 gives −K t = −ln 2.": lambda kernel: (
                -math.log(2) / kernel
            ),
            "that is for the seven points above. Here N = 1.": lambda kernel: (
                7 * math.log(2) / kernel
            ),
            "log10 and log2 belong to other bases: the exponential wants the natural logarithm.": lambda kernel: (
                math.log10(2) / kernel
            ),
        },
        "ln 2 / K: the kernel of a point with itself is the speed at which that point is learned.",
    )
