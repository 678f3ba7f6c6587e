"""The service's pages in a browser: what a person does, and what no page may do."""

import base64
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from command_line import run_cli
from filled_log import fill_log
from served import process
from tiny_models import add_reliability, write_threshold_model

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]
# The machine may run other tests at the same time.
expect.set_options(timeout=20_000)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PHONE, DESKTOP = (390, 844), (1280, 800)
DARK, MIDDLE, BRIGHT, WHITE = 10, 128, 220, 255
CLASSES = [
    f"{color} {bird} {number}"
    for color in ("gray", "red")
    for bird in ("owl", "jay")
    for number in range(250)
]


CHALLENGER, CHAMPION = ({"name": "gray", "version": number, "sha256": ""} for number in "43")
FINDING = {
    "test": "brightness",
    "effect": -0.2,
    "unit": "mean brightness",
    "p_value": 0.00001,
    "what": "images are darker",
    "severity": "critical",
    "since": "2026-11-28T08:00:00Z",
    "advice": "look at the camera",
}
SHIFT = {
    "classes": [{"name": "dark", "share": 0.8, "low": 0.7, "high": 0.9, "reference": 0.5}],
    "limits": "none",
}
DRIFT: dict[str, Any] = {
    "checked_at": "2026-11-29T08:00:00Z",
    "hours": 168,
    "yearly_level": 0.05,
    "verdict": "drift",
    "harm": "estimated",
    "advice": "run `visiongate retrain-check`",
    "models": [
        {
            **CHAMPION,
            "verdict": "drift",
            "causes": ["the camera"],
            "window": {"compared": 200},
            "reference": {"origin": "held-out images", "images": 360},
            "tests": [FINDING],
            "findings": [FINDING],
            "accuracy": {
                "value": 0.9,
                "low": 0.88,
                "high": 0.92,
                "reference": 0.97,
                "limits": "no new class",
            },
            "label_shift": SHIFT,
            "advice": "look at recent images",
        },
        {**CHALLENGER, "verdict": "cannot say", "findings": [], "advice": "40 predictions are missing"},
    ],
}
STAGE = {
    "stage": "shadow",
    "challenger": CHALLENGER,
    "challenger_did": {"predictions": 500},
    "verdict": "hold",
    "checks": [{"check": "accuracy", "verdict": "hold", "reason": "12 labels are too few"}],
    "agreement": 0.93,
    "labels": 12,
    "difference": {"value": 0.01, "low": -0.1, "high": 0.12},
}
STANDING: dict[str, Any] = {
    "drift": DRIFT,
    "checks": [{"time": "2026-11-29T08:00:00Z", "verdict": "drift"}],
    "decisions": [
        {
            "time": "2026-11-29T08:00:00Z",
            "kind": "rollout",
            "verdict": "hold",
            "report": {"advice": "wait for labels", "stages": [STAGE], "applied": []},
        },
        {
            "time": "2026-11-22T08:00:00Z",
            "kind": "rollout",
            "verdict": "promote",
            "report": {"advice": "3 is better", "stages": [], "applied": ["champion is version 3"]},
        },
    ],
}


def encode(gray: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (40, 30), gray).save(buffer, "PNG")
    return buffer.getvalue()


def file(name: str, content: bytes, kind: str = "image/png") -> dict[str, Any]:
    return {"name": name, "mimeType": kind, "buffer": content}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a model that knows dark from bright images, is unsure in the middle, and has not seen white ones."""
    with serve(tmp_path_factory.mktemp("service"), ask_share=0.0) as url:
        yield url


@contextmanager
def serve(folder: Path, ask_share: float) -> Iterator[str]:
    write_threshold_model(folder / "gray.onnx")
    reliability = {"error_rate": 0.05, "min_probability": 0.9, "novelty_threshold": 250.0, "images": 100}
    add_reliability(folder / "gray.onnx", reliability)
    environment = {"VISIONGATE_SERVING__LOG__ASK_SHARE": str(ask_share)}
    with process(folder / "gray.onnx", folder, environment) as service:
        yield service.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Open a page that may neither fail, nor break its policy, nor call another host."""
    opened = browser.new_page(base_url=address, viewport={"width": 1280, "height": 800})
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if "Policy" in message.text else None)
    opened.on("request", lambda request: None if is_own(request.url, address) else faults.append(request.url))
    yield opened
    opened.close()
    assert faults == []


def is_own(url: str, address: str) -> bool:
    return url.startswith((f"{address}/", f"blob:{address}/", "data:"))


def choose(page: Page, *files: dict[str, Any]) -> None:
    page.goto("/")
    page.set_input_files("#files", list(files))


def answer(page: Page, name: str) -> Any:  # noqa: ANN401 - Locator
    return page.get_by_role("article", name=name)


def transfer(page: Page, event: str, kind: str) -> None:
    """Dispatch an event that carries an image, as a browser does."""
    page.evaluate(
        """([event, kind, content]) => {
          const transfer = new DataTransfer();
          const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
          transfer.items.add(new File([bytes], "given.png", {type: "image/png"}));
          const init = {bubbles: true, cancelable: true, clipboardData: transfer, dataTransfer: transfer};
          document.body.dispatchEvent(new globalThis[kind](event, init));
        }""",
        [event, kind, base64.b64encode(encode(BRIGHT)).decode()],
    )


def test_several_images_are_answered_at_once(page: Page) -> None:
    choose(
        page,
        file("night.png", encode(DARK)),
        file("day.png", encode(BRIGHT)),
        file("notes.txt", b"Buy milk."),
    )

    expect(answer(page, "night.png").get_by_role("heading")).to_contain_text("dark")
    expect(answer(page, "day.png").get_by_role("heading")).to_contain_text("bright")
    expect(answer(page, "notes.txt").get_by_role("heading")).to_have_text("Not an image")
    expect(answer(page, "notes.txt")).to_contain_text("send a JPEG or PNG image.")
    expect(answer(page, "notes.txt").get_by_role("button", name="Try again")).to_be_hidden()
    expect(page.locator("#summary p")).to_have_text("3 images: 1 dark and 1 bright, 1 failed.")
    expect(page.locator("footer")).to_contain_text("Model: gray")


@pytest.mark.parametrize(("event", "kind"), [("paste", "ClipboardEvent"), ("drop", "DragEvent")])
def test_an_image_can_be_pasted_and_dropped(page: Page, event: str, kind: str) -> None:
    page.goto("/")
    transfer(page, event, kind)

    expect(answer(page, "given.png").get_by_role("heading")).to_contain_text("bright")


def test_doubts_are_said_in_words(page: Page) -> None:
    choose(page, file("dusk.png", encode(MIDDLE)), file("snow.png", encode(WHITE)))

    expect(answer(page, "dusk.png")).to_contain_text("Not sure")
    expect(answer(page, "dusk.png")).to_contain_text("It could be bright or dark.")
    expect(answer(page, "snow.png")).to_contain_text("This image is unlike the training images")


def test_a_heat_map_is_drawn_on_demand(page: Page) -> None:
    choose(page, file("day.png", encode(BRIGHT)))
    picture = answer(page, "day.png").get_by_role("img")

    answer(page, "day.png").get_by_role("button", name="Show heat map").click()
    expect(picture).to_have_attribute("alt", "day.png: the places that speak for bright are bright")
    assert str(picture.get_attribute("src")).startswith("data:image/png;base64,")

    answer(page, "day.png").get_by_role("button", name="Show image").click()
    expect(picture).to_have_attribute("alt", "day.png")


def test_a_correction_is_recorded_and_counted(page: Page) -> None:
    choose(page, file("day.png", encode(BRIGHT)))
    # Quietly, because nobody asked.
    expect(answer(page, "day.png").get_by_text("Is this right?")).to_have_count(0)
    answer(page, "day.png").get_by_role("button", name="Correct or confirm").click()
    expect(answer(page, "day.png").get_by_role("button", name="Yes, bright")).to_be_focused()
    expect(answer(page, "day.png").get_by_text("chosen at random")).to_be_hidden()
    answer(page, "day.png").get_by_role("button", name="No, dark").click()
    expect(answer(page, "day.png").get_by_role("status")).to_contain_text("Thank you: recorded as dark.")
    page.get_by_role("button", name="Change").click()
    page.get_by_role("button", name="Yes, bright").click()
    expect(answer(page, "day.png").get_by_role("status")).to_contain_text("Thank you: bright is confirmed.")

    page.goto("/live")
    expect(fact(page, "Accuracy, volunteered feedback")).to_contain_text("100%")
    expect(fact(page, "Accuracy, random sample")).to_contain_text("has not asked anyone")
    expect(page.get_by_role("row", name="bright")).to_contain_text("100%")
    page.get_by_label("Scores by").select_option("the random sample")
    expect(page.get_by_role("row", name="bright")).not_to_contain_text("100%")


def fact(page: Page, name: str) -> Any:  # noqa: ANN401 - Locator
    return page.locator("#facts div").filter(has=page.get_by_text(name, exact=True))


def test_a_random_sample_is_asked_and_counted_apart(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path, ask_share=1.0) as url:
        page = browser.new_page(base_url=url)
        choose(page, file("day.png", encode(BRIGHT)), file("night.png", encode(DARK)))
        question = answer(page, "day.png").get_by_role("heading", name="Is this right?")
        expect(question).to_be_visible()
        expect(answer(page, "day.png")).to_contain_text("This image was chosen at random.")
        check(page, DESKTOP)
        answer(page, "day.png").get_by_role("button", name="Yes, bright").click()
        expect(question).to_have_count(0)

        page.goto("/live")
        expect(fact(page, "Accuracy, random sample")).to_contain_text("100%")
        expect(fact(page, "Accuracy, random sample")).to_contain_text("1 of 2 replied (50%)")
        expect(fact(page, "Accuracy, volunteered feedback")).to_contain_text("No feedback yet")
        expect(page.get_by_label("Scores by")).to_have_value("sampled")
        page.close()


def test_drift_and_rollout_are_shown(page: Page) -> None:
    choose(page, file("day.png", encode(BRIGHT)))
    expect(answer(page, "day.png").get_by_role("heading")).to_contain_text("bright")
    page.goto("/live")
    expect(page.locator("#drift")).to_contain_text("There was no drift check yet.")
    expect(page.locator("#rollout")).to_contain_text("active")
    expect(page.locator("#rollout")).to_contain_text("Nothing was decided about versions yet.")

    page.route("**/monitoring", lambda route: route.fulfill(json=STANDING))
    page.reload()
    drift, rollout = page.locator("#drift"), page.locator("#rollout")
    for text in (
        "The answers have probably become worse",
        "brightness: images are darker",
        "-0.2 mean brightness · p < 0.0001 · since Nov 28",
        "Look at the camera.",
        "Likely: the camera.",
        "40 predictions are missing.",
        "200 predictions compared with 360 held-out images. Looked at: brightness.",
        "At most 5% of years",
    ):
        expect(drift).to_contain_text(text)
    expect(drift.locator("code")).to_have_text("visiongate retrain-check")
    expect(drift.locator(".facts")).to_contain_text("88% to 92%")
    expect(drift.locator(".verdict")).to_have_class("verdict no")
    for text in (
        "Hold: go on as it is",
        "gray 4, as shadow: hold",
        "93% agree with the answers · 12 labels · accuracy +1.0 points (-10.0 to +12.0)",
        "Accuracy: 12 labels are too few.",
        "Champion is version 3.",
    ):
        expect(rollout).to_contain_text(text)

    advice = FINDING["advice"]
    same = DRIFT | {"advice": advice, "models": [DRIFT["models"][0] | {"advice": advice}]}
    retrain = STANDING["decisions"][1] | {"kind": "retrain", "verdict": "retrain"}
    page.route(
        "**/monitoring",
        lambda route: route.fulfill(json=STANDING | {"drift": same, "decisions": [retrain]}),
    )
    page.reload()
    expect(rollout).to_contain_text("Train again")
    assert drift.inner_text().count("Look at the camera.") == 1


def test_a_keyboard_is_enough(page: Page) -> None:
    # Early, because a dialog that opens before the browser knows of this is lost.
    page.on("filechooser", lambda chooser: chooser.set_files([file("day.png", encode(BRIGHT))]))
    page.goto("/")
    expect(page.locator("footer")).to_contain_text("Model: gray")
    press_tab_until(page, "Choose images")
    page.keyboard.press("Enter")
    expect(answer(page, "day.png").get_by_role("heading")).to_be_visible()
    expect(page.locator("#spoken")).to_have_text("day.png: bright, 100%.")

    press_tab_until(page, "Correct or confirm")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Change")).to_be_focused()


def press_tab_until(page: Page, text: str) -> None:
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.locator(":focus").inner_text() == text:
            return
    raise AssertionError(f"no Tab leads to {text}")


def made_answer(route: Route) -> None:
    probabilities = dict.fromkeys(CLASSES, 0.0) | {CLASSES[0]: 0.9, CLASSES[999]: 0.1}
    made = {
        "prediction_id": "made",
        "predicted_label": CLASSES[0],
        "confidence": 0.9,
        "probabilities": probabilities,
    }
    doubts = {"possible": [CLASSES[0]], "sure": True, "out_of_distribution": None, "feedback_requested": True}
    route.fulfill(json=made | doubts | {"processing_time_ms": {"total": 1.0}})


def test_a_class_of_a_thousand_is_found_by_its_name(page: Page) -> None:
    sent = []
    page.route("**/predict", made_answer)
    page.route(
        "**/feedback", lambda route: (sent.append(route.request.post_data_json), route.fulfill(json={}))
    )
    choose(page, file("bird.png", encode(DARK)))

    page.get_by_text("All 1,000 classes").click()
    expect(answer(page, "bird.png").locator("details li")).to_have_count(1000)
    page.get_by_role("button", name="No, something else").click()
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("red jay 17")
    expect(page.locator(".search li")).to_have_count(8)
    page.keyboard.type("3")
    page.keyboard.press("Enter")

    expect(page.get_by_role("status").filter(has_text="Thank you")).to_contain_text("red jay 173")
    assert sent == [{"prediction_id": "made", "label": "red jay 173"}]


def test_a_busy_service_is_asked_again(page: Page) -> None:
    refusals = [429, 503]
    page.route("**/predict", lambda route: refuse(route, refusals.pop()) if refusals else route.continue_())
    choose(page, file("day.png", encode(BRIGHT)))

    expect(answer(page, "day.png")).to_contain_text("trying again")
    expect(answer(page, "day.png").get_by_role("heading")).to_contain_text("bright")


def refuse(route: Route, status: int) -> None:
    problem = {"title": "Overloaded", "status": status, "detail": "the service is busy"}
    headers = {"Retry-After": "0.1", "Content-Type": "application/problem+json"}
    route.fulfill(status=status, headers=headers, body=json.dumps(problem))


def test_an_unreachable_service_is_explained(page: Page) -> None:
    page.route("**/predict", lambda route: route.abort())
    choose(page, file("day.png", encode(BRIGHT)))
    expect(answer(page, "day.png")).to_contain_text("The service cannot be reached")

    page.unroute("**/predict")
    answer(page, "day.png").get_by_role("button", name="Try again").click()
    expect(answer(page, "day.png").get_by_role("heading")).to_contain_text("bright")


def test_a_key_is_asked_for_and_used(page: Page) -> None:
    def check(route: Route) -> None:
        known = route.request.headers.get("authorization") == "Bearer secret"
        route.continue_() if known else refuse(route, 401)

    page.route("**/predict", check)
    choose(page, file("day.png", encode(BRIGHT)))
    page.get_by_label("This service requires an API key.").fill("secret")
    page.keyboard.press("Enter")

    expect(answer(page, "day.png").get_by_role("heading")).to_contain_text("bright")


def test_a_model_can_be_chosen(page: Page) -> None:
    page.route("**/models", lambda route: route.fulfill(json=[{"name": "default"}, {"name": "birds"}]))
    page.route(
        "**/model?model=*",
        lambda route: route.fulfill(json={"name": "birds", "sha256": "", "classes": CLASSES}),
    )
    page.route("**/predict?model=birds", made_answer)
    page.goto("/")
    page.get_by_label("Model").select_option("birds")
    expect(page.locator("#classes")).to_have_text("The model tells 1,000 classes apart.")
    page.set_input_files("#files", [file("bird.png", encode(DARK))])

    expect(answer(page, "bird.png").get_by_role("heading", level=2)).to_contain_text(CLASSES[0])


def test_an_operation_can_be_tried(page: Page) -> None:
    page.goto("/docs")
    page.locator("summary", has_text="List the models").click()
    page.get_by_role("button", name="Send").click()

    expect(page.get_by_role("status")).to_contain_text("200 OK")
    expect(page.get_by_role("status")).to_contain_text('"role": "active"')


# The width changes the layout and the scheme the colors, so that two of the four combinations have all there is.
@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "dark"), (DESKTOP, "light")], ids=["phone", "desktop"])
def test_pages_are_accessible(browser: Browser, address: str, size: tuple[int, int], scheme: Any) -> None:  # noqa: ANN401
    page = browser.new_page(
        base_url=address, viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
    )
    choose(
        page,
        file("dusk.png", encode(MIDDLE)),
        file("day.png", encode(BRIGHT)),
        file("notes.txt", b"Buy milk."),
    )
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    check(page, size)
    page.route("**/monitoring", lambda route: route.fulfill(json=STANDING))
    page.goto("/live")
    expect(page.locator("#facts div")).to_have_count(6)
    expect(page.locator("#drift")).to_contain_text("brightness: images are darker")
    page.get_by_text("Estimated shares").click()
    check(page, size)
    page.goto("/docs")
    page.locator("summary", has_text="Predict the classes").first.click()
    check(page, size)
    page.close()


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "dark"), (DESKTOP, "light")], ids=["phone", "desktop"])
def test_the_report_is_accessible(
    browser: Browser,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    scheme: Any,  # noqa: ANN401
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VISIONGATE_SERVING__LOG__ADDRESS", f"sqlite:///{tmp_path}/log.sqlite")
    fill_log(f"sqlite:///{tmp_path}/log.sqlite")
    assert run_cli("performance", "--html", "report.html") == 0
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "report.html").as_uri())
    for summary in page.locator("summary").all():
        summary.click()
    expect(page.locator("svg").first).to_be_visible()
    check(page, size)
    page.close()
    # Nothing but the page.
    assert len(asked) == 1


def check(page: Page, size: tuple[int, int]) -> None:
    violations = Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    if size == PHONE:
        small = "nodes => nodes.filter((node) => node.offsetHeight > 0 && node.offsetHeight < 44).map((node) => node.outerHTML)"
        assert page.eval_on_selector_all("button, input, select, summary, nav a", small) == []
