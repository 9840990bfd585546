"""Laws of networks and their training for any size, dtype, variance and scale."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import activations, dtypes, losses, normal, scales, seeds

import ntk_helpers as ntk

sizes = st.integers(1, 5)


@st.composite
def networks(draw, dtype=dtypes, most=8) -> tuple[ntk.MLP, dict]:
    """Draw a network and the settings it was made with."""
    settings = {
        "n_in": draw(st.integers(1, 4)),
        "width": draw(sizes),
        "n_out": draw(st.integers(1, 3)),
        "depth": draw(st.integers(1, 3)),
        "activation": draw(activations),
        "sigma_w": 10.0 ** draw(st.integers(-most, most)),
        "sigma_b": draw(st.sampled_from([0.0, 1e-8, 0.1, 1.0, 10.0**most])),
        "seed": draw(seeds),
        "dtype": draw(dtype),
    }
    return ntk.MLP(**settings), settings


@given(networks(), st.integers(1, 6), scales, seeds)
def test_outputs_are_finite_and_follow_the_order_of_the_points(drawn, n, scale, seed):
    model, settings = drawn
    x = (scale * normal(n, model.n_in, seed=seed)).to(settings["dtype"])
    with torch.no_grad():
        f = model(x)
        size = f.abs().max().item()
        assert f.dtype == settings["dtype"]
        if size < torch.finfo(f.dtype).max / 1e3:
            eps = 1e3 * torch.finfo(f.dtype).eps * size
            torch.testing.assert_close(model(x.flip(0)), f.flip(0), rtol=0, atol=eps)
            torch.testing.assert_close(model(x[None])[0], f, rtol=0, atol=eps)


@given(networks(dtype=st.just(torch.float64), most=0), st.integers(1, 6), seeds)
def test_both_parameterizations_start_as_the_same_function(drawn, n, seed):
    model, settings = drawn
    other = ntk.MLP(**settings, parameterization="standard")
    x = normal(n, model.n_in, seed=seed)
    with torch.no_grad():
        torch.testing.assert_close(other(x), model(x), rtol=1e-9, atol=1e-9)


@given(networks(), dtypes)
def test_one_seed_is_one_network_in_every_dtype(drawn, dtype):
    model, settings = drawn
    again = ntk.MLP(**settings | {"dtype": dtype})
    for p, q in zip(model.parameters(), again.parameters(), strict=True):
        coarse = torch.float32 if torch.float32 in (p.dtype, q.dtype) else torch.float64
        assert torch.equal(p.to(coarse), q.to(coarse))


def line(n_in: int, n_out: int, seed: int, dtype) -> torch.nn.Linear:
    """Return a linear model, whose kernel never changes."""
    model = torch.nn.Linear(n_in, n_out).to(dtype)
    with torch.no_grad():
        model.weight.copy_(normal(n_out, n_in, seed=seed))
    return model


@given(
    st.integers(1, 5), sizes, st.integers(1, 3), seeds, dtypes, losses, scales,
    st.floats(0.01, 0.95), st.integers(0, 40),
)  # fmt: skip
def test_descent_on_a_linear_model_is_what_its_kernel_predicts(
    n, n_in, n_out, seed, dtype, loss, height, share, steps
):
    model = line(n_in, n_out, seed, dtype)
    x = normal(n, n_in, seed=seed + 1).to(dtype)
    y = (height * normal(n, n_out, seed=seed + 2)).to(dtype)
    f0, kernel = model(x).detach(), ntk.empirical_ntk(model, x)
    dynamics = ntk.KernelDynamics(kernel, y, f0, loss=loss)
    rate = share * dynamics.max_learning_rate
    history = ntk.gradient_descent(
        model, x, y, learning_rate=rate, steps=steps, loss=loss, progress=False
    )
    assert history.step[0] == 0
    assert history.step[-1] == steps
    assert torch.equal(history.time, rate * history.step.to(dtype))
    size = max(f0.abs().max().item(), y.abs().max().item())
    close = {"rtol": 0, "atol": 2e3 * torch.finfo(dtype).eps * size}
    torch.testing.assert_close(history.outputs, dynamics.train_steps(history.step, rate), **close)
    scale = 1 / n if loss == "mean" else 1.0
    wanted = 0.5 * scale * (history.outputs - y).square().flatten(1).sum(1)
    torch.testing.assert_close(history.loss, wanted)
    assert (history.loss.diff() <= 1e3 * torch.finfo(dtype).eps * history.loss[0]).all()


@given(
    networks(dtype=st.just(torch.float64), most=0), seeds, losses, st.randoms(use_true_random=False)
)
def test_the_order_of_the_training_points_does_not_change_the_network(drawn, seed, loss, random):
    model, settings = drawn
    x, y = normal(4, model.n_in, seed=seed), normal(4, model.n_out, seed=seed + 1)
    other, order = ntk.MLP(**settings), [0, 1, 2, 3]
    random.shuffle(order)
    run = {"learning_rate": 1e-4, "steps": 5, "loss": loss, "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        history = ntk.gradient_descent(model, x, y, **run)
        shuffled = ntk.gradient_descent(other, x[order], y[order], **run)
    assert history.diverged == shuffled.diverged
    if not history.diverged:
        size = history.outputs.abs().max().item()
        torch.testing.assert_close(
            shuffled.outputs, history.outputs[:, order], rtol=1e-7, atol=1e-7 * size
        )


@given(networks(), seeds, scales, scales, scales)
def test_training_ends_finite_or_diverged_and_says_so(drawn, seed, height, span, rate):
    model, settings = drawn
    x = (span * normal(3, model.n_in, seed=seed)).to(settings["dtype"])
    y = (height * normal(3, model.n_out, seed=seed + 1)).to(settings["dtype"])
    run = {"learning_rate": rate, "steps": 7, "progress": False}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with torch.no_grad():
            start = 0.5 * (model(x) - y).square().sum() / 3
        if not torch.isfinite(start):
            with pytest.raises(ValueError, match="must be finite at the start"):
                ntk.gradient_descent(model, x, y, **run)
            return
        history = ntk.gradient_descent(model, x, y, **run)
    assert history.diverged == any("diverged" in str(w.message) for w in said)
    assert "nan" not in " ".join(str(w.message) for w in said)
    assert torch.isfinite(history.outputs).all()
    assert torch.isfinite(history.loss).all()


@given(st.integers(1, 50), seeds, dtypes, st.floats(-1e8, 1e8))
def test_data_sets_are_what_they_say(n, seed, dtype, start):
    circle = ntk.data.unit_circle(n, start=start, dtype=dtype)
    assert circle.x.shape == (n, 2)
    torch.testing.assert_close(circle.x.square().sum(1), torch.ones(n, dtype=dtype))
    curve = ntk.data.wavy_curve(n + 1, noise=0.1, seed=seed, dtype=dtype)
    assert curve.x.dtype == curve.y.dtype == dtype
    assert (curve.x.diff(dim=0) > 0).all()
    digits = ntk.data.digits(n, classes=[seed % 10], seed=seed, dtype=dtype)
    torch.testing.assert_close(digits.x.square().mean(1), torch.ones(n, dtype=dtype))
    assert len(digits.image.flatten(1).unique(dim=0)) == n
