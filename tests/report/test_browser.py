"""The page in headless Chromium: what a reader sees."""

import json
import re
import shutil
import subprocess

import pytest

from tests.report import runs
from zoo import report

CHROMIUM = next(
    filter(
        None,
        map(
            shutil.which,
            ["chromium", "chromium-browser", "google-chrome", "chrome"],
        ),
    ),
    None,
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on the PATH to render the page with"
)

# Sent to the frame around the page: its own size, its pictures, its contrasts.
MEASURE = """<script>
function channels(text) { return text.match(/[\\d.]+/g).map(Number); }
function luminance(text) {
  const [r, g, b] = channels(text).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function background(element) {
  for (let e = element; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (channels(colour)[3] !== 0) return colour;
  }
}
function contrast(element) {
  const style = getComputedStyle(element);
  const text = element instanceof SVGElement ? style.fill : style.color;
  const [a, b] = [luminance(text), luminance(background(element))];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}
addEventListener("load", () => {
  const texts = [...document.body.querySelectorAll("*")].filter(e =>
    !e.closest("script") &&
    [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()));
  const inside = e => !e.closest(".scroll");
  const boxes = [...document.querySelectorAll("main *")].filter(inside)
    .map(e => e.getBoundingClientRect());
  parent.postMessage({
    viewport: document.documentElement.clientWidth,
    width: document.documentElement.scrollWidth,
    rightmost: Math.max(...boxes.map(box => box.right)),
    texts: texts.length,
    contrast: Math.min(...texts.map(contrast)),
    paper: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.querySelector("svg text")).fill,
    pictures: [...document.images].map(i => i.naturalWidth * i.clientWidth),
    figures: [...document.querySelectorAll("svg[role]")].map(s => s.clientHeight),
    overlong: [...document.querySelectorAll(".scroll")]
      .filter(e => e.scrollWidth > e.clientWidth).length,
  }, "*");
});
</script></body>"""
FRAME = """<body><iframe src="page.html" style="border:0;width:%dpx;height:900px">
</iframe><script>
addEventListener("message", e => document.body.textContent = JSON.stringify(e.data));
</script></body>"""


def seen(html, folder, width, *flags):
    """Return what MEASURE tells of a page in a window of so many pixels."""
    folder.mkdir()
    (folder / "page.html").write_text(html.replace("</body>", MEASURE))
    (folder / "frame.html").write_text(FRAME % width)
    words = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
        "--disable-dev-shm-usage", "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000",
        *flags, (folder / "frame.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    return json.loads(re.search(r"\{.*\}", done.stdout)[0])


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    run = runs.make(tmp_path_factory.mktemp("run") / "a")
    return report.write(run).read_text()


@pytest.fixture(scope="module")
def phone(html, tmp_path_factory):
    return seen(html, tmp_path_factory.mktemp("phone") / "a", 360)


def test_a_phone_does_not_scroll_sideways(phone):
    assert phone["viewport"] == phone["width"] == 360
    assert phone["rightmost"] <= 360
    assert phone["overlong"] > 0  # the confusion matrix scrolls in its own box


def test_everything_is_drawn(phone):
    assert len(phone["pictures"]) == 25 and min(phone["pictures"]) > 0
    assert len(phone["figures"]) == 8 and min(phone["figures"]) > 50


def test_dark_differs_from_light_and_both_are_legible(html, phone, tmp_path):
    dark = seen(html, tmp_path / "a", 1280, "--blink-settings=preferredColorScheme=0")
    assert phone["paper"] == "rgb(252, 251, 248)"
    assert dark["paper"] == "rgb(21, 24, 27)"
    assert phone["ink"] != dark["ink"]
    for page in (phone, dark):  # WCAG 2.2, 1.4.3
        assert page["texts"] > 100 and page["contrast"] >= 4.5
    assert dark["viewport"] == dark["width"] == 1280


def test_two_runs_side_by_side_fit_a_phone(tmp_path):
    paths = [runs.make(tmp_path / name) for name in "ab"]
    page = report.compare(paths, tmp_path / "comparison.html").read_text()
    phone = seen(page, tmp_path / "phone", 360)
    assert phone["width"] == 360 and phone["rightmost"] <= 360
    assert len(phone["figures"]) == 4 and min(phone["figures"]) > 50
