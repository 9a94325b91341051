"""The page in headless Chromium, with the real server: what a visitor sees."""

import base64
import io
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest
import requests
import uvicorn
from PIL import Image

import zoo
from tests.report.test_browser import CHROMIUM
from zoo import export
from zoo.export import replay
from zoo.serving import app
from zoo.serving.metrics import Metrics
from zoo.serving.repository import Repository

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on the PATH to open the page with"
)

NAMES = ["T-shirt/top", "Trouser", "Ankle boot"]
SECONDS = 20  # that anything may take
HEIGHT, WIDTH = 14, 10  # not a square, so that the two cannot be swapped unseen

# Of all text that is seen, the lowest contrast; as WCAG 2.2 defines it.
CONTRAST = """() => {
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const luminance = text => {
    const [r, g, b] = channels(text).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = e => {
    const colour = getComputedStyle(e).backgroundColor;
    return channels(colour)[3] === 0 ? background(e.parentElement) : colour;
  };
  return Math.min(...[...document.body.querySelectorAll("*")]
    .filter(e => e.checkVisibility() && e.tagName !== "SCRIPT" &&
      [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
    .map(e => {
      const [a, b] = [getComputedStyle(e).color, background(e)].map(luminance);
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    }));
}"""
PIXELS = """canvas => {
  const {width, height} = canvas;
  const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
  return [height, width, Array.from(data)];
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return one with two models: a grey one, and one of colours, uncertified."""
    folder = tmp_path_factory.mktemp("models")
    model = zoo.small_cnn((HEIGHT, WIDTH, 1), (4,), classes=3)
    kernel = model.layers[-1].kernel
    kernel.assign(kernel * 20)  # or an untrained model gives each class a third
    rng = np.random.default_rng(0)
    examples = rng.integers(0, 256, (60, HEIGHT, WIDTH, 1), np.uint8)
    facts = {
        "command": "zoo train things",
        "accuracy": {"test": 0.875, "images": 1600},
        "data": {"name": "things", "train": 50000, "test": 1600},
    }
    export.saved_model(
        model, folder / "certified", NAMES, examples, np.arange(60) % 3, facts=facts
    )
    colour = zoo.small_cnn((HEIGHT, WIDTH, 3), (4,), classes=3)
    path = export.saved_model(colour, folder / "uncertified")
    shutil.rmtree(path / "assets.extra")
    return folder


@pytest.fixture(scope="module")
def served(folder):
    """Return what answers are compared with: the SavedModel, without the server."""
    return replay.saved_model_ask(folder / "certified" / "1")


@pytest.fixture(scope="module")
def address(folder):
    metrics = Metrics()
    repository = Repository(folder, metrics=metrics)
    repository.start()
    config = uvicorn.Config(
        app.create(repository, metrics), port=0, log_level="warning", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + SECONDS
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()
    yield f"http://{host}:{port}"
    server.should_exit = True
    thread.join(SECONDS)
    repository.close()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        playwright.expect.set_options(timeout=SECONDS * 1000)
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, address):
    """Open the page; at the end, nothing was asked of any other place or went wrong."""
    contexts, asked, errors = [], [], []

    def open_page(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(SECONDS * 1000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: m.type == "error" and errors.append(m.text))
        page.goto(address)
        playwright.expect(page.get_by_role("heading", level=1)).to_have_text(
            "certified"
        )
        return page

    yield open_page
    for context in contexts:
        context.close()
    elsewhere = [url for url in asked if not url.startswith((address, "data:"))]
    assert elsewhere == []
    # Chromium reports what the policy forbids, but each answer of 400 and more, too.
    assert [error for error in errors if "Failed to load resource" not in error] == []


def answered(page, verdict):
    """Wait until the page says this, and return its table: names and percentages."""
    playwright.expect(page.locator("#verdict")).to_have_text(verdict)
    rows = [row.inner_text().split("\n") for row in page.get_by_role("row").all()]
    return [[name.strip(), text.strip()] for name, text in (row for row in rows)]


def as_percent(p):
    return "< 0.1 %" if 0 < p < 0.001 else f"{100 * p:.1f} %"


def check(page, outputs):
    """Compare what the page shows with the outputs of the model for one image."""
    (probabilities,), (name,) = outputs["probabilities"], outputs["class_names"]
    name = name.decode()
    expected = [[n, as_percent(p)] for n, p in zip(NAMES, probabilities, strict=True)]
    assert answered(page, f"{name}, {as_percent(probabilities.max())}") == expected
    (best,) = page.locator("tr.best th").all()
    assert best.inner_text() == name  # and it has a mark besides its colour
    assert best.evaluate("e => getComputedStyle(e, '::before').content") == '"▸"'


def pixels(canvas):
    """Return the pixels of a canvas, red, green and blue."""
    height, width, values = canvas.evaluate(PIXELS)
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def received(page):
    """Return the picture of what the model received."""
    return pixels(page.locator("#received"))


def drawing(page):
    """Wait for the answer to what is drawn, and return the file that was sent."""
    href = page.locator("#canvas").evaluate("canvas => canvas.toDataURL()")
    save = page.locator("#save")  # as the page offers it
    playwright.expect(save).to_have_attribute("href", href)
    playwright.expect(save).to_have_attribute("download", "drawing.png")
    return base64.b64decode(href.partition(",")[2])


def opened(content):
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"))


def of_file(served, signature, content):
    return served(signature, {"image_bytes": np.array([content], object)})


def drop(page, name, kind, content):
    """Drop a file onto the page, as a file manager does."""
    transfer = page.evaluate_handle(
        """([name, type, text]) => {
          const transfer = new DataTransfer();
          const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
          transfer.items.add(new File([bytes], name, {type}));
          return transfer;
        }""",
        [name, kind, base64.b64encode(content).decode()],
    )
    for event in ("dragover", "drop"):
        page.dispatch_event("#drop", event, {"dataTransfer": transfer})


def test_an_example(visit, folder, served):
    page = visit(viewport={"width": 1280, "height": 900})
    certificate = replay.read(folder / "certified" / "1")
    image = replay.array(certificate["requests"][0]["inputs"]["images"])[4:5]
    label = NAMES[certificate["labels"][4]]
    assert page.get_by_role("button", name="Example").count() == 12
    page.get_by_role("button", name=f"Example 5: {label}").click()
    outputs = served("serving_default", {"images": image})
    check(page, outputs)
    np.testing.assert_array_equal(received(page), image[0].repeat(3, axis=-1))
    verdict = "Right" if outputs["class_names"][0].decode() == label else "Wrong"
    assert page.inner_text("#truth") == f"{verdict}: its true label is {label}."
    (pressed,) = page.locator("button[aria-pressed=true]").all()
    assert pressed.locator("img").get_attribute("alt") == f"Example 5: {label}"


def test_a_dropped_file_and_the_same_from_a_terminal(visit, served, tmp_path):
    page = visit(viewport={"width": 1280, "height": 900})
    rng = np.random.default_rng(1)
    file = tmp_path / "it's a $(photo).jpg"
    Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(file)
    drop(page, file.name, "image/jpeg", file.read_bytes())
    outputs = of_file(served, "serve_bytes", file.read_bytes())
    check(page, outputs)
    seen = of_file(served, "decode", file.read_bytes())["images"]
    np.testing.assert_array_equal(received(page), seen[0].repeat(3, axis=-1))
    assert not page.is_visible("#truth")
    page.get_by_text("The same from a terminal").click()
    if shutil.which("curl"):
        words = ["sh", "-c", page.inner_text("#curl")]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        name = outputs["class_names"][0].decode()
        assert f'"class_names":"{name}"' in done.stdout.replace('": "', '":"')


def test_drawing_with_a_mouse(visit, served):
    page = visit(viewport={"width": 1280, "height": 900})
    canvas = page.get_by_label("Drawing area")
    box = canvas.bounding_box()
    assert (box["width"], box["height"]) == (280, 280)
    page.mouse.move(box["x"] + 40, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 240, box["y"] + 60)
    page.mouse.up()
    sent = drawing(page)
    assert opened(sent).shape == (280, 280)
    assert opened(sent)[52:68, 40:240].min() == 255  # a white line on black, 20 wide
    assert opened(sent)[:48].max() == opened(sent)[72:].max() == 0
    check(page, of_file(served, "serve_bytes", sent))
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    canvas.click()  # which is asked about a little later, if it is still there
    page.get_by_role("button", name="Clear").click()
    assert pixels(canvas).max() == 0
    assert page.inner_text("#verdict") == "" and not page.is_visible("#given")
    page.evaluate("new Promise(done => setTimeout(done, 400))")
    assert asked == []


def test_with_the_keyboard_alone(visit, served):
    page = visit(viewport={"width": 1280, "height": 900})
    focus = "document.activeElement.id || document.activeElement.tagName"
    order = []
    while "canvas" not in order:  # file, 12 examples, canvas
        page.keyboard.press("Tab")
        order.append(page.evaluate(focus))
        assert len(order) < 20
    assert order == ["model", "file", *["BUTTON"] * 12, "canvas"]
    for key in ["ArrowUp"] * 3 + ["Space"] + ["ArrowLeft"] * 5:
        page.keyboard.press(key)
    said = page.locator("#said")
    assert said.inner_text() == "Pen lowered, column 14, row 11 of 28"
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")  # lifted: it leaves no trace
    assert said.inner_text() == "Pen lifted, column 9, row 11 of 28"
    sent = drawing(page)
    assert opened(sent)[102:118, 90:140].min() == 255 and opened(sent)[122:].max() == 0
    check(page, of_file(served, "serve_bytes", sent))
    page.keyboard.press("Tab")
    assert page.evaluate(focus) == "clear"
    page.keyboard.press("Enter")
    assert pixels(page.locator("#canvas")).max() == 0


def test_a_file_that_is_no_image_and_then_a_good_one(visit, address):
    page = visit(viewport={"width": 1280, "height": 900})
    page.get_by_role("button", name="Example 1:").click()
    playwright.expect(page.locator("#verdict")).not_to_be_empty()
    text = {"name": "a.png", "mimeType": "image/png", "buffer": b"no image"}
    page.get_by_label("or choose one").set_input_files(text)
    request = {
        "signature_name": "serve_bytes",
        "instances": [{"b64": base64.b64encode(b"no image").decode()}],
    }
    url = f"{address}/v1/models/certified:predict"
    message = requests.post(url, json=request, timeout=30).json()["error"]
    alert = page.get_by_role("alert")
    playwright.expect(alert).to_have_text(f"a.png: {message}")
    assert not page.is_visible("#waiting")
    assert page.inner_text("#verdict") == ""  # nor is the answer before left to be seen
    assert not page.is_visible("#bars")
    page.get_by_role("button", name="Example 1:").click()
    playwright.expect(page.locator("#verdict")).not_to_be_empty()
    playwright.expect(page.locator("#error")).to_be_empty()


def test_a_server_that_has_stopped(visit):
    page = visit(viewport={"width": 1280, "height": 900})
    page.route("**/*:predict", lambda route: route.abort())
    page.get_by_role("button", name="Example 1:").click()
    playwright.expect(page.get_by_role("alert")).to_contain_text("gave no answer")


def test_an_answer_that_comes_too_late_is_not_shown(visit):
    page = visit(viewport={"width": 1280, "height": 900})
    held = []  # the two requests about the first image

    def hold(route):
        held.append(route) if len(held) < 2 else route.continue_()

    page.route("**/*:predict", hold)
    page.get_by_role("button", name="Example 1:").click()
    page.get_by_role("button", name="Example 2:").click()
    save = page.locator("#save")
    playwright.expect(save).to_have_attribute("download", "example-2.png")
    for route in held:
        with page.expect_request_finished():
            route.continue_()
    page.evaluate("new Promise(done => setTimeout(done, 50))")
    assert save.get_attribute("download") == "example-2.png"


def test_of_two_choices_of_a_model_the_later_holds(visit):
    page = visit(viewport={"width": 1280, "height": 900})
    held = []
    page.route("**/uncertified/card", lambda route: held.append(route))
    models = page.get_by_label("Model", exact=True)
    for name in ("uncertified", "certified"):
        with page.expect_request(f"**/{name}/card"):
            models.select_option(name)
    playwright.expect(page.locator("#facts")).to_contain_text("87.50 %")
    with page.expect_request_finished():
        held[0].continue_()
    page.evaluate("new Promise(done => setTimeout(done, 50))")
    assert page.get_by_role("heading", level=1).inner_text() == "certified"


def test_a_phone(visit, served):
    page = visit(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.get_by_role("button", name="Example 1:").tap()
    playwright.expect(page.locator("#verdict")).to_be_in_viewport()
    page.get_by_text("The same from a terminal").tap()
    rightmost = page.evaluate(
        """Math.max(...[...document.querySelectorAll("main *, header *")]
             .map(e => e.getBoundingClientRect().right))"""
    )
    assert rightmost <= 360
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    small = page.evaluate(
        """[...document.querySelectorAll("button, select")]
             .filter(e => e.checkVisibility() && e.clientHeight < 24).length"""
    )
    assert small == 0  # WCAG 2.2, 2.5.8
    page.get_by_label("Drawing area").tap(position={"x": 100, "y": 150})
    dot = opened(drawing(page))
    assert dot[150, 100] == 255 and dot[150, 130] == 0


def test_another_model_of_colours_and_without_a_certificate(visit):
    page = visit(viewport={"width": 1280, "height": 900})
    assert card(page) == {
        "Version": "1",
        "Test accuracy": "87.50 %, of 1,600 test images",
        "Data": "things (50,000 train, 1,600 test)",
        "Images": "14 × 10 × 1",
        "Classes": "3",
        "Trained by": "zoo train things",
    }
    page.get_by_role("button", name="Example 1:").click()
    playwright.expect(page.locator("#verdict")).not_to_be_empty()
    page.get_by_label("Model", exact=True).select_option("uncertified")
    playwright.expect(page.get_by_role("heading", level=1)).to_have_text("uncertified")
    assert page.inner_text("#verdict") == ""
    assert page.get_by_role("button", name="Example").count() == 0
    assert card(page) == {"Version": "1", "Images": "14 × 10 × 3", "Classes": "3"}
    assert "None: nothing is known" in page.inner_text("#facts")
    png = io.BytesIO()
    Image.new("RGB", (5, 5), (10, 20, 30)).save(png, "PNG")
    drop(page, "blue.png", "image/png", png.getvalue())
    playwright.expect(page.locator("#verdict")).not_to_be_empty()
    headers = page.get_by_role("rowheader").all_inner_texts()
    assert headers == ["class 0", "class 1", "class 2"]
    assert (received(page) == (10, 20, 30)).all()
    assert pixels(page.locator("#canvas")).min() == 255  # to draw on in black


def card(page):
    """Return the card, less what depends on the versions installed and the day."""
    terms = page.locator("#facts dt").all_inner_texts()
    values = page.locator("#facts dd").all_inner_texts()
    kept = {"Version", "Test accuracy", "Data", "Images", "Classes", "Trained by"}
    return {t: v for t, v in zip(terms, values, strict=True) if t in kept}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_are_legible(visit, scheme):
    page = visit(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page.get_by_role("button", name="Example 1:").click()
    page.get_by_text("The same from a terminal").click()
    paper = {"light": "rgb(252, 251, 248)", "dark": "rgb(21, 24, 27)"}[scheme]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
    assert page.evaluate(CONTRAST) >= 4.5  # WCAG 2.2, 1.4.3
