"""`play.html`: its arithmetic agrees with the package, and a reader can move all that it shows."""

import re
from pathlib import Path

import pytest
import torch

import ntk_helpers as ntk
from tools.paper import browser

pytest.importorskip("playwright.sync_api", reason="needs playwright: extra `browser`")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser() is None, reason="needs Chromium or Chrome on the PATH"),
]

FILE = Path(__file__).resolve().parent.parent / "play.html"
SETUP = {"sigma_w": 3.0, "sigma_b": 1.0}  # of lesson 00

# What the page makes of the weights of `net`: kernel, forecasts and the curve after some steps.
COMPUTE = """({net, points, inputs, share, steps, times}) => {
  const { look, kernel, foresee, step, gap } = customElements.get("ntk-play").arithmetic;
  for (const name of ["w", "b", "a"]) net[name] = Float64Array.from(net[name]);
  const seen = points.map(({ x }) => look(net, x)), line = inputs.map((x) => look(net, x));
  const forecast = foresee(points, seen, line), rate = share * forecast.largestStable;
  const errors = [];
  for (let k = 0; k < steps; k++) errors.push(step(net, points, rate));
  const before = line.map(({ f }) => f), trained = inputs.map((x) => look(net, x).f);
  return {
    kernel: line.map((p) => seen.map((q) => kernel(p, q))), before, trained, errors,
    largestStable: forecast.largestStable, told: times.map(forecast.at),
    gap: gap(before, trained, forecast.at(rate * steps)),
  };
}"""


@pytest.fixture
def visit(chromium):
    """Let a reader open the page.

    Yields:
        A function that opens it with settings of the browser. Whatever a page asks of another
        address, or says in its console, fails the test.
    """
    contexts, complaints = [], []

    def opened(**settings):
        context = chromium.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url))
        page.goto(FILE.as_uri())
        complaints.remove(FILE.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [each for each in complaints if not each.startswith("data:")] == []


@pytest.fixture
def still(visit):
    """Open the page for a reader who asked for little motion: nothing trains by itself."""
    return visit(reduced_motion="reduce")


def said(page):
    """Return what is read aloud."""
    return page.get_by_role("status").inner_text()


def curve(page, name):
    """Return a curve's path: "before", "network", "now" or "end"."""
    return page.locator(f".play-plot .play-{name}").get_attribute("d")


def steps(page):
    """Return how many steps the network has been trained."""
    return page.evaluate("document.querySelector('ntk-play').steps")


def wait(page, condition):
    """Wait until a condition on the element `play` holds."""
    code = f"(() => {{ const play = document.querySelector('ntk-play'); return {condition}; }})()"
    page.wait_for_function(code, timeout=60_000)


def button(page, name):
    """Return the button of this name."""
    return page.get_by_role("button", name=name, exact=True)


def middle(page, index):
    """Return where on the screen a point lies."""
    box = page.locator(".play-point circle:last-child").nth(index).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


# The arithmetic


def test_erf_is_right_to_the_last_digits(still):
    z = torch.linspace(-6.5, 6.5, 2601)
    code = "z => z.map((each) => customElements.get('ntk-play').arithmetic.erf(each))"
    made = torch.tensor(still.evaluate(code, z.tolist()))
    torch.testing.assert_close(made, z.erf(), rtol=0, atol=4e-16)


def test_a_draw_is_standard_normal_and_repeats(still):
    code = "([n, seed]) => customElements.get('ntk-play').arithmetic.untrained(n, seed)"
    one, again, other = (still.evaluate(code, [4096, seed]) for seed in [1, 1, 2])
    assert one == again
    assert one != other
    for name in "wba":
        draw = torch.tensor(one[name])
        assert len(draw) == 4096
        assert draw.mean().abs() < 5 / 64
        assert 0.9 < draw.std() < 1.1
        assert 2.5 < draw.abs().max() < 6


@pytest.fixture(scope="module")
def task():
    """Return the points of lesson 00, and the inputs at which to look."""
    x, y = ntk.data.wavy_curve(7, dtype=torch.float64)
    return x, y, torch.cat([torch.linspace(-1.3, 1.3, 53, dtype=torch.float64)[:, None], x])


def compute(page, net, x, y, inputs, **plan):
    """Return what the page makes of the network."""
    hidden, last = net.layers
    tensors = {"w": hidden.weight[:, 0], "b": hidden.bias, "a": last.weight[0]}
    weights = {name: tensor.tolist() for name, tensor in tensors.items()} | {"c": last.bias.item()}
    points = [{"x": float(at), "y": float(value)} for at, value in zip(x, y, strict=True)]
    given = {"net": weights, "points": points, "inputs": inputs[:, 0].tolist(), **plan}
    made = page.evaluate(COMPUTE, given)
    return {name: torch.tensor(value) for name, value in made.items()}


def dynamics(net, x, y, inputs):
    """Return the kernel of the inputs and the points, and the package's forecast as a function."""
    with torch.no_grad():
        f0, f0_line = net(x)[:, 0], net(inputs)[:, 0]
    kernel = ntk.empirical_ntk(net, inputs, x, outputs="trace")
    flow = ntk.KernelDynamics(ntk.empirical_ntk(net, x, outputs="trace"), y, f0)
    return kernel, flow, lambda times: flow.test(times, kernel, f0_line)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("share", [0.05, 0.8])
def test_kernel_forecast_and_training_agree_with_the_package(still, task, seed, share):
    x, y, inputs = task
    net = ntk.MLP(1, 64, **SETUP, seed=seed)
    times = torch.tensor([0.0, 0.02, 0.1, 1.0, 10.0, 1000.0])
    plan = {"share": share, "steps": 200, "times": times.tolist()}
    page = compute(still, net, x, y, inputs, **plan)
    close = {"rtol": 1e-8, "atol": 1e-8}

    kernel, flow, forecast = dynamics(net, x, y, inputs)
    torch.testing.assert_close(page["kernel"], kernel, **close)
    torch.testing.assert_close(page["told"], forecast(times), **close)
    torch.testing.assert_close(page["told"][:, -7:], flow.train(times), **close)
    assert page["largestStable"] == pytest.approx(flow.max_learning_rate, rel=1e-10)

    rate = share * flow.max_learning_rate
    run = {"learning_rate": rate, "steps": 200, "record_at": range(200), "progress": False}
    with torch.no_grad():
        before = net(inputs)[:, 0]
    history = ntk.gradient_descent(net, x, y, **run)
    with torch.no_grad():
        trained = net(inputs)[:, 0]
    torch.testing.assert_close(page["before"], before, **close)
    torch.testing.assert_close(page["trained"], trained, **close)
    torch.testing.assert_close(page["errors"], (2 * history.loss[:-1]).sqrt(), **close)
    gap = (trained - forecast(200 * rate)).abs().max() / (trained - before).abs().max()
    assert page["gap"] == pytest.approx(gap.item(), rel=1e-6)


def test_two_points_at_one_input_are_no_trouble(still, task):
    x, y, inputs = task
    x = torch.cat([x[:3], x[2:3], torch.linspace(0.1, 1.2, 8)[:, None]])
    y = torch.linspace(-1, 1, 12) ** 2
    net = ntk.MLP(1, 32, **SETUP, seed=3)
    times = torch.tensor([0.1, 10.0])
    page = compute(still, net, x, y, inputs, share=0.1, steps=1, times=times.tolist())
    told = dynamics(net, x, y, inputs)[2](times)
    torch.testing.assert_close(page["told"], told, rtol=1e-6, atol=1e-6)


# The element


def test_the_forecast_is_drawn_first_and_training_runs_onto_it(visit, task):
    page = visit()
    wait(page, "play.wanted")  # it has begun by itself
    button(page, "Reset").click()
    assert steps(page) == 0
    foretold, start = curve(page, "end"), curve(page, "network")
    assert foretold != start == curve(page, "before") == curve(page, "now")
    shown = page.evaluate("document.querySelector('ntk-play').points.map(({ x, y }) => [x, y])")
    torch.testing.assert_close(torch.tensor(shown), torch.column_stack([task[0][:, 0], task[1]]))
    button(page, "Train").click()
    wait(page, "play.over")
    assert re.fullmatch(
        r"Training ran onto the forecast: after \d+ steps they differ by [0-4]\.\d % of the way "
        r"travelled\.",
        said(page),
    )
    assert curve(page, "end") == foretold
    read = [
        torch.tensor([float(n) for n in re.findall(r"-?[\d.]+(?:e-\d+)?", curve(page, name))])
        for name in ("network", "end", "before")
    ]
    assert (read[0] - read[1]).abs().max() < 0.1
    assert (read[0] - read[2]).abs().max() > 1
    assert page.locator(".play-clock").inner_text().split("\n")[0].startswith("t = 10")


def test_training_can_be_paused_and_resumed_and_done_again(visit):
    page = visit()
    wait(page, "play.steps > 3")
    button(page, "Pause").click()
    here = steps(page)
    assert said(page).startswith(f"Paused at step {here}: the forecast misses by ")
    page.wait_for_timeout(400)
    assert steps(page) == here
    button(page, "Train").click()
    wait(page, "play.over")
    button(page, "Train again").click()
    assert steps(page) < 100
    wait(page, "play.steps > 0 && !play.over")


def test_a_point_follows_the_mouse_and_the_forecast_follows_the_point(visit):
    page = visit()
    wait(page, "play.steps > 3")
    before = curve(page, "end")
    x, y = middle(page, 4)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 12, y - 70, steps=4)
    assert curve(page, "end") != before
    assert steps(page) == 0
    assert middle(page, 4) == pytest.approx((x + 12, y - 70), abs=1)
    page.mouse.up()
    moved = curve(page, "end")
    page.mouse.move(x + 16, y - 74)
    page.mouse.move(x + 90, y + 90)
    assert curve(page, "end") == moved
    wait(page, "play.steps > 0")
    page.mouse.move(x + 12, y - 70)
    page.mouse.down()
    page.mouse.move(x, -500)
    page.mouse.up()
    top = page.locator(".play-plot").bounding_box()["y"]
    assert top < middle(page, 4)[1] < top + 30


def test_a_finger_moves_a_point_and_beside_the_points_it_moves_the_page(visit):
    page = visit(has_touch=True, reduced_motion="reduce", viewport={"width": 390, "height": 600})
    touch = page.context.new_cdp_session(page)

    def drag(x, y, by):
        for part in range(11):
            where = [{"x": x, "y": y + part * by / 10}]
            kind = "touchMove" if part else "touchStart"
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    before, (x, y) = curve(page, "end"), middle(page, 2)
    drag(x + 8, y - 8, -80)
    assert page.evaluate("scrollY") == 0
    assert curve(page, "end") != before
    assert middle(page, 2) == pytest.approx((x + 8, y - 88), abs=1)
    moved = curve(page, "end")
    drag(x, y + 50, -80)
    page.wait_for_function("scrollY > 20")
    assert curve(page, "end") == moved


def test_arrow_keys_move_the_point_that_has_the_focus(still):
    page, before = still, curve(still, "end")
    while not page.evaluate("document.activeElement.matches('.play-point')"):
        page.keyboard.press("Tab")
    point = page.get_by_role("slider", name="point 1", exact=True)
    assert point.get_attribute("aria-valuetext") == "x -1.00, y -0.41"
    for key in ["ArrowUp", "ArrowUp", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowLeft"]:
        page.keyboard.press(key)
    assert point.get_attribute("aria-valuetext") == "x -1.05, y -0.36"
    assert curve(page, "end") != before
    assert page.evaluate("scrollY") == 0


def test_width_rate_and_weights_make_another_forecast_and_reset_the_first_one(still):
    page = still
    names = ("before", "end")
    first = [curve(page, name) for name in names]
    page.locator("[name=width]").press("ArrowLeft")
    assert page.get_by_text("width: 512 hidden units").is_visible()
    narrower = [curve(page, name) for name in names]
    button(page, "New weights").click()
    other = [curve(page, name) for name in names]
    assert len({*first, *narrower, *other}) == 6
    page.locator("[name=rate]").press("ArrowRight")
    assert page.get_by_text("learning rate: 0.1 × largest stable").is_visible()
    assert [curve(page, name) for name in names] == other
    button(page, "Reset").click()
    assert [curve(page, name) for name in names] == first
    assert page.get_by_text("width: 1024 hidden units").is_visible()
    assert said(page) == "The forecast is drawn; the network is untrained. Press Train."


def test_a_narrow_network_leaves_the_forecast(visit):
    page = visit()
    button(page, "Make it narrow").click()
    assert page.get_by_text("width: 4 hidden units").is_visible()
    wait(page, "play.over")
    assert re.match(r"Here the forecast fails: after \d+ steps it misses by \d\d % of", said(page))


def test_too_large_a_rate_is_told_in_words(visit):
    page = visit()
    button(page, "Step too far").click()
    assert page.get_by_text("learning rate: 4 × largest stable").is_visible()
    wait(page, "play.over")
    assert re.match(r"Training blew up: after \d steps the network is, on average,", said(page))
    page.locator("[name=rate]").fill("7")  # 1.5: the error grows, but the kernel gives way
    wait(page, "play.over")
    largest = re.search(r"eigenvalue is (\d\d) % of what it was\.$", said(page))
    assert 30 < int(largest[1]) < 70


def test_out_of_sight_training_waits(visit):
    page = visit(viewport={"width": 390, "height": 500})
    wait(page, "play.steps > 3")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    wait(page, "!play.inSight")
    here = steps(page)
    page.wait_for_timeout(500)
    assert steps(page) == here
    page.evaluate("scrollTo(0, 0)")
    wait(page, f"play.steps > {here}")


def test_it_starts_when_it_is_first_seen(visit):
    page = visit(viewport={"width": 390, "height": 200})
    page.wait_for_timeout(300)
    assert said(page).endswith("Press Train.")
    page.locator(".play-plot").scroll_into_view_if_needed()
    wait(page, "play.wanted")


def test_who_asked_for_little_motion_starts_training_and_sees_few_pictures(still):
    page = still
    page.wait_for_timeout(1500)
    assert steps(page) == 0
    page.evaluate("""window.pictures = 0;
      const see = () => pictures++, path = document.querySelector(".play-plot .play-network");
      new MutationObserver(see).observe(path, { attributes: true, attributeFilter: ["d"] });""")
    button(page, "Train").click()
    wait(page, "play.over")
    assert said(page).startswith("Training ran onto the forecast")
    assert 2 <= page.evaluate("pictures") <= 6
    page.get_by_role("slider", name="point 1", exact=True).press("ArrowUp")
    page.wait_for_timeout(1500)
    assert said(page).endswith("Press Train.")


def test_the_script_alone_makes_the_element_of_another_page(visit):
    script = re.search(r'<script id="ntk-play">(.*?)</script>', FILE.read_text("utf-8"), re.S)[1]
    page = visit(reduced_motion="reduce")
    page.goto("about:blank")
    page.set_content("<ntk-play><img alt='The forecast, printed.'></ntk-play>")
    page.add_script_tag(content=script)
    assert page.locator("ntk-play img").count() == 0
    assert button(page, "Train").is_visible()
    end = curve(page, "end")
    page.evaluate("document.body.prepend(document.querySelector('ntk-play'))")
    assert page.locator(".play-plot").count() == 1
    assert curve(page, "end") == end


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows_and_all_that_is_touched_is_large_enough(visit, width):
    page = visit(viewport={"width": width, "height": 844}, reduced_motion="reduce")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    touched = page.locator("ntk-play :is(button, input, .play-point circle:first-child)").all()
    assert len(touched) == 14
    assert min(part.bounding_box()["height"] for part in touched) >= 44
    parts = page.locator("ntk-play :is(p, ul, li, button, input, .play-plot)").all()
    boxes = [part.bounding_box() for part in parts]
    assert [box for box in boxes if box["x"] < 0 or box["x"] + box["width"] > width] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("theme", ["", "light", "dark"])
def test_colours_follow_the_theme_of_the_page_or_else_of_the_system(visit, scheme, theme):
    page = visit(color_scheme=scheme, reduced_motion="reduce")
    page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    dark = (theme or scheme) == "dark"
    ground = luminance((20, 24, 30) if dark else (255, 255, 255))
    for part, least in {
        "button": 4.5,
        "[role=status]": 4.5,
        ".play-plot text": 4.5,
        ".play-plot .play-before": 3,
        ".play-plot .play-now": 3,
        ".play-point circle:last-child": 3,
    }.items():
        kind = "stroke" if ".play-plot ." in part else "fill" if ".play" in part else "color"
        place = page.locator(f"ntk-play {part}").last
        colour = place.evaluate(f"element => getComputedStyle(element).{kind}")
        light = luminance(map(int, re.findall(r"\d+", colour)[:3]))
        assert (max(light, ground) + 0.05) / (min(light, ground) + 0.05) >= least


def luminance(colour):
    """Return a colour's relative luminance, as WCAG defines it, of red, green and blue to 255."""
    parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))
