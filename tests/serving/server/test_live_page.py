"""The live page in a real browser, by clicks and strokes, on really exported models."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Browser, Page, Route, expect

from serving import latent_path
from serving.batch.split_reference import write_reference
from serving.client import Client
from serving.images.picture_decoder import decode_picture
from serving.noise import seed_noise
from serving.pictures.windows import rectangle
from serving.reference.model_reference import Reference
from serving.server import Server, ServerConfig, models_from_folder
from tests import chromium, page_canvas, tiny
from tests.serving import model_server, tiny_servable
from trainer.task import ImageFiles, Resize

STEPS, ROWS, COLUMNS = tiny.STEPS, tiny.ROWS, tiny.COLUMNS
CLASS_NAMES = tuple(f"kind {label}" for label in range(tiny.CLASSES))

pytestmark = chromium.required


@pytest.fixture(scope="module")
def server(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Of `tiny`, which draws; `looks`, a classifier of colour images; and `own`, one of images that are prepared."""
    looks = model_server.export_model(tiny.CLASSIFIER, tmp_path_factory.mktemp("looks"))
    data = ImageFiles(
        images="/photos",
        crop=(40, 60),
        resize=Resize.FILL,
        background=(0, 0, 255),
        has_labels=True,
        class_names=CLASS_NAMES,
    )
    own = model_server.export_model(tiny.tiny_classifier(data=data), tmp_path_factory.mktemp("own"))
    models = {
        **models_from_folder(tiny_folder, "tiny"),
        **models_from_folder(looks, "looks"),
        **models_from_folder(own, "own"),
    }
    with Server(ServerConfig(models=models)) as running:
        for name in models:
            tiny_servable.wait_until_available(running, name, timeout=120)
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.launched() as browser:
        yield browser


Opener = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Opener]:
    """Opens the page of a server, with reduced motion by default; fails on a console error."""
    complaints: list[str] = []
    contexts = []

    def visit(server: Server, query: str = "", *, errors: str = "^$", **options: object) -> Page:
        context = browser.new_context(**{"reduced_motion": "reduce", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda said: complain(said.text, errors) if said.type == "error" else None)
        page.on("pageerror", lambda error: complain(str(error)))
        page.goto(f"http://127.0.0.1:{server.rest_port}/{query}")
        return page

    def complain(text: str, expected: str = "^$") -> None:
        if not re.search(expected, text):
            complaints.append(text)

    yield visit
    for context in contexts:
        context.close()
    assert not complaints


def _client(server: Server, model: str = "tiny") -> Client:
    return Client(f"127.0.0.1:{server.grpc_port}", model=model)


def test_a_stroke_is_scored_and_rebuilt_as_the_server_does_the_same_pixels(server: Server, visit: Opener) -> None:
    page = visit(server, "?model=tiny")
    image = page_canvas.stroke(page)
    with _client(server) as client:
        scores, rebuilt = client.score(image), client.reconstruct(image)
    expect(page.locator("#nll_bound")).to_have_text(f"{scores.nll_bound[0]:.1f}")
    expect(page.locator("#reconstruction")).to_have_text(f"{scores.reconstruction[0]:.1f}")
    expect(page.locator("#kl")).to_have_text(f"{scores.kl[0]:.1f}")
    shown = ", ".join(f"{kl:.1f}" for kl in scores.kl_per_step[0])
    expect(page.locator(".bars")).to_have_attribute("aria-label", f"KL at each of {STEPS} steps, in nats: {shown}")
    expect(page.locator(".usual")).to_have_text(re.compile(r"^40 of its own drawings get \d+ to \d+ nats\.$"))
    # The steps come when the pen rests, and the KL's bars lead to them.
    expect(page.locator("#try .of")).to_have_text(f"{STEPS} of {STEPS}")
    page.locator(".bar").nth(1).click()
    expect(page.locator("#try .of")).to_have_text(f"2 of {STEPS}")
    page_canvas.shows(page.locator("[data-picture=rebuilt] canvas"), rebuilt.canvas[0, 1])
    _outlines(page, "[data-picture=pad] rect.read", rebuilt.read_window[0, 1], tiny.SMALL_N)
    _outlines(page, "[data-picture=rebuilt] rect.write", rebuilt.write_window[0, 1], tiny.LARGE_N)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#nll_bound")).to_have_text("–")
    assert not page_canvas.pixels(page.locator("canvas.pad")).any()


def test_a_drawing_has_its_place_in_the_models_reference(tiny_folder: Path, visit: Opener, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "tiny")
    bounds = np.linspace(10, 60, 800)
    scores = {"nll_bound": bounds, "reconstruction": bounds / 2, "kl": bounds / 2}
    write_reference(f"{tmp_path}/tiny/{model_server.VERSION}", Reference.from_statistics(scores, split="watch"))
    with model_server.serve(tmp_path / "tiny") as running:
        page = visit(running, "?model=tiny")
        expect(page.locator(".usual")).to_have_text("95% of 800 validation images get 11 to 59 nats.")
        image = page_canvas.stroke(page)
        with _client(running) as client:
            (place,) = client.score(image, seeds=np.zeros((1, 2), np.int64)).percentile
        expect(page.locator(".usual")).to_contain_text(f"This one is at {place:.1f}%: ")
        # Before its server ends, whose silence it would complain about.
        page.close()


def _outlines(page: Page, selector: str, window: np.ndarray, size: int) -> None:
    """Fails where a rectangle is not around the window's filters; the page counts from the corner of a pixel."""
    names = ("x", "y", "width", "height")
    left, top, width, height = (float(page.locator(selector).get_attribute(name) or "nan") for name in names)
    expected = rectangle(window, size) + 0.5
    np.testing.assert_allclose([left, top, left + width, top + height], expected, rtol=1e-5, atol=1e-5)


def test_the_same_seed_shows_the_same_drawing_and_each_of_its_steps(server: Server, visit: Opener) -> None:
    page = visit(server, "?model=tiny")
    drawn, seed, step = page.locator("[data-picture=drawn] canvas"), page.locator("#seed"), page.locator("#watch .step")
    with _client(server) as client:
        canvases, windows = client.sample_sequence(seeds=np.array([[7, 0], [8, 0]]))
    seed.press("End")
    page.locator("#seed-number").fill("7")
    for place, key in ((0, None), (1, "ArrowRight"), (0, "ArrowLeft")):
        if key:
            seed.press(key)
        expect(drawn).to_have_attribute("aria-label", re.compile(f"seed {7 + place} after step {STEPS} of {STEPS}$"))
        page_canvas.shows(drawn, canvases[place, -1])
    step.press("Home")
    step.press("ArrowRight")
    expect(drawn).to_have_attribute("aria-label", re.compile(f"seed 7 after step 2 of {STEPS}$"))
    page_canvas.shows(drawn, canvases[0, 1])
    _outlines(page, "[data-picture=drawn] rect.write", windows[0, 1], tiny.LARGE_N)
    page.locator("#watch .strip canvas").nth(3).click()
    page_canvas.shows(drawn, canvases[0, 3])
    page.get_by_role("button", name="Take its drawing").click()
    expect(page.locator("#nll_bound")).not_to_have_text("–")
    page_canvas.shows(page.locator("canvas.pad"), np.rint(canvases[0, -1]))


def test_the_page_draws_the_noise_that_the_model_draws(server: Server, visit: Opener) -> None:
    page = visit(server, "?model=tiny")
    seeds = [[0, 0], [7, 0], [2**53 - 1, 1], [-5, 2**40]]
    drawn = page.evaluate(
        "async (seeds) => { const { seedNoise } = await import('/live/noise.js');"
        " return seeds.map((seed) => seedNoise(seed, 3, 5)); }",
        seeds,
    )
    np.testing.assert_allclose(drawn, seed_noise(np.array(seeds), 3, 5), atol=2e-6)


def test_the_way_from_the_models_drawing_to_ones_own(server: Server, visit: Opener) -> None:
    page = visit(server, "?model=tiny")
    expect(page.locator("#between")).to_be_hidden()
    image = page_canvas.stroke(page)
    with _client(server) as client:
        ends = [client.noise(1, seed=7)[0], client.encode(image, eps=client.noise(1, seed=0)).z[0]]
        path = client.decode(latent_path.between(*ends, 5))
        np.testing.assert_allclose(path[-1], client.reconstruct(image).image[0], atol=1e-5)
        other = client.sample(seeds=np.array([[8, 0]]))[0]
    slider, drawn = page.locator("#share"), page.locator("[data-picture=between] canvas")
    for percent, expected in ((0, path[0]), (75, path[3]), (100, path[4])):
        slider.fill(str(percent))
        expect(drawn).to_have_attribute("aria-label", f"A drawing {percent}% of the way from the model's own to yours")
        page_canvas.shows(drawn, expected)
    # With another drawing of the model's, the way begins elsewhere; without one's own there is none.
    slider.fill("0")
    expect(drawn).to_have_attribute("aria-label", re.compile("drawing 0%"))
    page.locator("#seed").press("ArrowRight")
    page.wait_for_function(
        "expected => { const c = document.querySelector('[data-picture=between] canvas');"
        " return Math.abs(c.getContext('2d').getImageData(0, 0, 1, 1).data[0] - expected) < 1; }",
        arg=float(255 * other[0, 0, 0]),
    )
    page_canvas.shows(drawn, other)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#between")).to_be_hidden()
    page.locator("#model").select_option("looks")
    expect(page.locator("#classes")).to_be_visible()
    expect(page.locator("#between")).to_be_hidden()


def test_a_drawing_plays_at_the_speed_that_is_chosen(server: Server, visit: Opener) -> None:
    page = visit(server, "?model=tiny")
    expect(page.locator("#watch .of")).to_have_text(f"{STEPS} of {STEPS}")
    seconds = {}
    for speed in ("0.25", "2"):
        page.locator("#watch .speed").select_option(speed)
        seconds[speed] = page.evaluate(
            """async () => {
                const [button, begin] = [document.querySelector("#watch .play"), performance.now()];
                button.click();
                while (button.textContent === "Pause") await new Promise((done) => setTimeout(done, 10));
                return (performance.now() - begin) / 1000;
            }"""
        )
    # Five steps of a quarter of a second each at the usual speed.
    assert seconds["0.25"] >= 4.9 and seconds["2"] < 0.6 * seconds["0.25"]


def test_a_drawing_plays_by_itself_only_for_one_who_wants_motion(server: Server, visit: Opener) -> None:
    seen = """() => {
        window.seen = new Set();
        new MutationObserver(() => window.seen.add(document.querySelector("#watch .of").textContent))
            .observe(document.querySelector("#watch"), {subtree: true, childList: true, characterData: true});
    }"""
    every = {f"{step} of {STEPS}" for step in range(1, STEPS + 1)}
    for motion, played in (("no-preference", every), ("reduce", {f"{STEPS} of {STEPS}"})):
        page = visit(server, "?model=tiny", reduced_motion=motion)
        expect(page.locator("#watch .of")).to_have_text(f"{STEPS} of {STEPS}")
        page.evaluate(seen)
        page.locator("#seed").press("ArrowRight")
        expect(page.locator("[data-picture=drawn] canvas")).to_have_attribute(
            "aria-label", re.compile(f"seed 8 after step {STEPS} of")
        )
        assert set(page.evaluate("[...window.seen]")) == played
    play = page.locator("#watch .play")
    play.click()
    expect(play).to_have_text("Pause")
    expect(play).to_have_text("Play")
    assert set(page.evaluate("[...window.seen]")) == every


def test_a_loaded_picture_is_classified_and_its_glimpses_are_shown(
    server: Server, visit: Opener, tmp_path: Path
) -> None:
    picture = np.random.default_rng(5).integers(0, 256, (ROWS, COLUMNS, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    page = visit(server, "?model=tiny")
    page.locator("#model").select_option("looks")
    expect(page.locator("#watch")).to_be_hidden()
    page.locator("#file").set_input_files(tmp_path / "picture.png")
    with _client(server, "looks") as client:
        result = client.classify(picture[None] / np.float32(255))
    shares = [f"{place}{100 * share:.1f}%" for place, share in enumerate(result.probabilities[0])]
    expect(page.locator(".probabilities li")).to_have_text(shares)
    expect(page.locator(".probabilities .now")).to_have_text(shares[result.label[0]])
    np.testing.assert_array_equal(page_canvas.pixels(page.locator("canvas.pad")), picture)
    expect(page.locator("rect.read")).to_have_count(STEPS)
    page.locator("#try .step").press("Home")
    _outlines(page, "rect.read", result.glimpse_window[0, 0], tiny.SMALL_N)
    (tmp_path / "notes.png").write_text("no picture")
    page.locator("#file").set_input_files(tmp_path / "notes.png")
    expect(page.locator("#try .error")).to_have_text("notes.png is no picture that this browser reads.")


@pytest.mark.parametrize("chosen", ["before a model is known", "while another is awaited", "and is read for long"])
def test_a_picture_waits_for_the_model_that_is_awaited(
    server: Server, visit: Opener, tmp_path: Path, chosen: str
) -> None:
    picture = np.random.default_rng(5).integers(0, 256, (ROWS, COLUMNS, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    held: list[Route] = []
    page = visit(server, "?model=tiny")
    if chosen == "and is read for long":
        expect(page.locator("#try")).to_be_visible()
        page.evaluate(
            "() => {"
            "  const real = createImageBitmap, wait = new Promise((done) => { window.go = done; });"
            "  window.createImageBitmap = (...given) => wait.then(() => real(...given));"
            "}"
        )
        page.locator("#file").set_input_files(tmp_path / "picture.png")
    page.route("**/looks/**/metadata", lambda route: held.append(route))
    if chosen == "before a model is known":
        page.goto(f"http://127.0.0.1:{server.rest_port}/?model=looks")
    else:
        expect(page.locator("#try")).to_be_visible()
        page.locator("#model").select_option("looks")
    expect(page.locator("#try")).to_be_hidden()
    if chosen == "and is read for long":
        page.evaluate("go()")
    else:
        page.locator("#file").set_input_files(tmp_path / "picture.png")
    for route in held:
        route.continue_()
    expect(page.locator(".probabilities li")).to_have_count(tiny.CLASSES)
    np.testing.assert_array_equal(page_canvas.pixels(page.locator("canvas.pad")), picture)


def _pictures(folder: Path) -> Iterator[Path]:
    """Pictures of the size of the model, of the modes, depths and orientations that a browser reads."""
    rng = np.random.default_rng(6)
    colour = rng.integers(0, 256, (ROWS, COLUMNS, 3), np.uint8)
    alpha = rng.choice(np.array([0, 255], np.uint8), (ROWS, COLUMNS))
    stored = np.repeat(np.add.outer(np.arange(COLUMNS) * 9, np.arange(ROWS) * 30)[..., None], 3, axis=2).astype(
        np.uint8
    )
    turned = Image.Exif()
    turned[0x0112] = 6
    gamma = PngInfo()
    gamma.add(b"gAMA", (100_000).to_bytes(4, "big"))
    for name, picture, options in (
        ("grey.png", colour[..., 0], {}),
        ("deep.png", colour[..., 0].astype(np.uint16) * 257, {}),
        ("bits.png", colour[..., 0] > 128, {}),
        ("palette.gif", Image.fromarray(colour).quantize(16), {}),
        ("alpha.png", np.dstack([colour, alpha]), {}),
        ("alpha.webp", np.dstack([colour, alpha]), {"lossless": True}),
        ("one-transparent.png", colour, {"transparency": tuple(colour[2, 3])}),
        ("gamma.png", colour, {"pnginfo": gamma}),
        ("bitmap.bmp", colour, {}),
        ("turned.jpg", stored, {"quality": 100, "subsampling": 0, "exif": turned}),
    ):
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        image.save(folder / name, **options)
        yield folder / name


def test_a_loaded_picture_has_the_pixels_that_the_commands_score(server: Server, visit: Opener, tmp_path: Path) -> None:
    page = visit(server, "?model=tiny")
    page.locator("#model").select_option("looks")
    expect(page.locator("#try")).to_be_visible()  # when the model is known
    for path in _pictures(tmp_path):
        expected = decode_picture(path.read_bytes(), 3, background=(0, 0, 0))
        page.locator("#clear").click()
        page.locator("#file").set_input_files(path)
        expect(page.locator("#file")).to_have_value("")  # when it is loaded
        shown = page_canvas.pixels(page.locator("canvas.pad")).astype(int)
        # Two decoders of JPEG round differently.
        np.testing.assert_allclose(shown, expected, atol=2 if path.suffix == ".jpg" else 0, err_msg=path.name)


def test_a_loaded_picture_is_prepared_as_the_models_own_were(server: Server, visit: Opener, tmp_path: Path) -> None:
    page = visit(server, "?model=tiny")
    page.locator("#model").select_option("own")
    expect(page.locator("#try")).to_be_visible()  # when the model is known
    # A border that the crop cuts off, a frame that filling the shape cuts off, and what is left is half transparent.
    picture = np.zeros((60, 80, 4), np.uint8)
    picture[10:50, 10:70] = (0, 255, 0, 255)
    picture[10:50, 28:52] = (255, 0, 0, 255)
    picture[10:30, 28:52, 3] = 0
    Image.fromarray(picture).save(tmp_path / "large.png")
    page.locator("#file").set_input_files(tmp_path / "large.png")
    expect(page.locator("#file")).to_have_value("")
    shown = page_canvas.pixels(page.locator("canvas.pad")).astype(int)
    np.testing.assert_allclose(shown[:2, 1:-1], np.broadcast_to((0, 0, 255), (2, COLUMNS - 2, 3)), atol=3)
    np.testing.assert_allclose(shown[5:, 1:-1], np.broadcast_to((255, 0, 0), (2, COLUMNS - 2, 3)), atol=3)
    expect(page.locator(".probabilities li > :first-child")).to_have_text(CLASS_NAMES)
    expect(page.locator(".verdict")).to_have_text(re.compile(r"^Taken for kind \d+, with "))
    Image.fromarray(picture[:30]).save(tmp_path / "small.png")
    page.locator("#file").set_input_files(tmp_path / "small.png")
    expect(page.locator("#try .error")).to_contain_text("30 x 80 pixels, and the model's images are cut to 40 x 60.")


def test_what_the_server_says_of_an_error_is_shown(server: Server, visit: Opener) -> None:
    page = visit(server, "?model=tiny", errors="400|ERR_INTERNET_DISCONNECTED")
    expect(page.locator("#watch .of")).to_have_text(f"{STEPS} of {STEPS}")
    # The page itself sends no pixels that the server refuses.
    page.route("**:predict", lambda route: route.continue_(post_data=route.request.post_data.replace("[1]", "[0.5]")))
    page_canvas.stroke(page)
    expect(page.locator("#try .error")).to_contain_text("Every pixel of `image` must be 0 or 1")
    page.locator("#clear").click()
    expect(page.locator("#try .error")).to_be_hidden()
    page.context.set_offline(True)
    page.locator("#seed").press("ArrowRight")
    expect(page.locator("#watch .error")).to_have_text(re.compile(r"^The server at http.* does not answer\.$"))
    page.context.set_offline(False)
    page.locator("#seed").press("ArrowRight")
    expect(page.locator("#watch .error")).to_be_hidden()


def test_a_new_version_takes_over_and_what_is_drawn_stays(tiny_folder: Path, tmp_path: Path, visit: Opener) -> None:
    shutil.copytree(tiny_folder, tmp_path / "tiny")
    with model_server.serve(tmp_path / "tiny", file_system_poll_wait_seconds=0.05) as server:
        # A request may meet the version that has just gone.
        page = visit(server, errors="404")
        expect(page.locator("#version")).to_have_text("newest (3)3")
        image = page_canvas.stroke(page)
        expect(page.locator("#try .of")).to_have_text(f"{STEPS} of {STEPS}")
        shutil.copytree(tiny_folder / "3", tmp_path / "4")
        (tmp_path / "4").rename(tmp_path / "tiny" / "4")
        tiny_servable.wait_until_available(server, model_server.MODEL, 4)
        with page.expect_request(re.compile(r"/versions/4:predict$")):
            page.locator("#seed").press("ArrowRight")
        expect(page.locator("#version")).to_have_text("newest (4)4")
        expect(page.locator("#nll_bound")).not_to_have_text("–")
        page_canvas.shows(page.locator("canvas.pad"), image[0])
        # Before its server ends, whose silence it would complain about.
        page.close()


def test_a_server_of_another_origin_lists_no_models_and_may_refuse_the_page(
    server: Server, tiny_folder: Path, visit: Opener
) -> None:
    page = visit(server, f"?server=http://localhost:{server.rest_port}&model=tiny", errors="CORS|ERR_FAILED|403")
    expect(page.locator("#trouble")).to_have_text(re.compile("--rest_api_enable_cors_support"))
    with model_server.serve(tiny_folder, rest_api_enable_cors_support=True) as other:
        page = visit(server, f"?server=http://localhost:{other.rest_port}&model=tiny")
        image = page_canvas.stroke(page)
        with _client(other) as client:
            expect(page.locator("#nll_bound")).to_have_text(f"{client.score(image).nll_bound[0]:.1f}")
        expect(page.locator("#trouble")).to_be_hidden()
        # The list of models, which says of what size the windows are, is of the page's own server.
        assert float(page.locator("[data-picture=drawn] rect.write").get_attribute("width") or "nan") < 0.1
        # Before its server ends, whose silence it would complain about.
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_is_readable(server: Server, visit: Opener, scheme: str) -> None:
    for width in (400, 1400):
        for model in ("tiny", "looks"):
            page = visit(server, f"?model={model}", viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.locator("#noise").click()
            expect(page.locator("#try .of")).to_have_text(f"{STEPS} of {STEPS}")
            assert page.evaluate("document.documentElement.scrollWidth") == width
            clipped = "[...document.querySelectorAll('button, .of, dd, h2')].filter(e => e.scrollWidth > e.offsetWidth)"
            assert page.evaluate(f"{clipped}.map(e => e.textContent)") == []
            contrasts = {text: _contrast(page, text, "#try") for text in ("#try h2", "#try .lead", "#try dt")}
            contrasts[".play"] = _contrast(page, "#try .play", "#try .play")
            assert min(contrasts.values()) >= 4.5, contrasts
            unnamed = "[...document.querySelectorAll('button, input:not([hidden]), select, canvas[role]')]"
            named = "e.labels?.length || e.ariaLabel || e.textContent.trim()"
            assert page.evaluate(f"{unnamed}.filter(e => !({named})).map(e => e.outerHTML)") == []


def _contrast(page: Page, text: str, behind: str) -> float:
    """Of the text and the ground behind it, after WCAG 2."""
    colours = [
        page.locator(text).first.evaluate("e => getComputedStyle(e).color"),
        page.locator(behind).first.evaluate("e => getComputedStyle(e).backgroundColor"),
    ]
    parts = np.array([[int(value) for value in re.findall(r"\d+", colour)[:3]] for colour in colours]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return float((light + 0.05) / (dark + 0.05))


def test_a_fast_seed_slider_asks_no_more_than_one_at_a_time(server: Server, visit: Opener) -> None:
    page = visit(server, "?model=tiny")
    drawn = page.locator("[data-picture=drawn] canvas")
    expect(drawn).to_have_attribute("aria-label", re.compile("seed 7 after"))
    under_way, most, asked = set(), [], []

    def begun(request) -> None:
        seeds = json.loads(request.post_data)["inputs"]["seed"] if request.url.endswith(":predict") else []
        # Those of more rows are for the usual range.
        if len(seeds) == 1:
            under_way.add(request)
            most.append(len(under_way))
            asked.append(seeds[0][0])

    page.on("request", begun)
    page.on("requestfinished", lambda request: under_way.discard(request))
    page.evaluate(
        """async () => {
            const seed = document.querySelector("#seed");
            for (let value = 100; value <= 160; value += 1) {
                seed.value = value;
                seed.dispatchEvent(new Event("input"));
                if (value % 10 == 0) await new Promise((done) => setTimeout(done, 20));
            }
        }"""
    )
    expect(drawn).to_have_attribute("aria-label", re.compile(f"seed 160 after step {STEPS}"))
    assert max(most) == 1 and len(asked) < 20 and asked[-2:] == [160, 160]
