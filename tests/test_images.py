"""Pictures that people bring: files, arrays and addresses are opened under limits, and what is wrong has its row."""

import io
import struct
import threading
import time
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_blocks import tiny_clip
from workbench import SentenceTransformer, models
from workbench.errors import ImageError, TextTypeError
from workbench.images import download_image, open_image

RED = np.full((6, 9, 3), (200, 10, 30), np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    tiny_clip(folder)
    return SentenceTransformer(modules=[models.CLIPModel(str(folder))], device="cpu")


def png(array=RED):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def bomb(side):
    """A PNG of a few bytes that says it has side by side pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@contextmanager
def server(answer):
    """A web server of this machine, whose handler writes what ``answer(handler)`` does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{web.server_address[1]}"
        finally:
            web.shutdown()
            thread.join()


def sends(content, code=200, **headers):
    def answer(handler):
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


# ── What is an image ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_an_array_and_an_image_give_the_same_pixels(tmp_path):
    (tmp_path / "red.png").write_bytes(png())
    for source in (tmp_path / "red.png", RED, Image.fromarray(RED), np.dstack([RED, 0 * RED[:, :, 0] + 255])):
        image = open_image(source)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), RED)
    grey = open_image(RED[:, :, 0])
    np.testing.assert_array_equal(np.asarray(grey), np.dstack([RED[:, :, 0]] * 3))
    np.testing.assert_array_equal(np.asarray(open_image(RED[:, :, :1])), np.asarray(grey))


def test_what_is_transparent_is_white(tmp_path):
    clear = Image.new("P", (4, 4), 1)
    clear.putpalette([255, 0, 0, 0, 0, 255])
    clear.save(tmp_path / "clear.gif", transparency=1)
    for source in (tmp_path / "clear.gif", np.zeros((4, 4, 4), np.uint8)):
        assert (np.asarray(open_image(source)) == 255).all()


def test_a_photograph_is_turned_as_its_camera_was_held(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(RED).save(tmp_path / "turned.jpg", exif=exif)
    assert open_image(tmp_path / "turned.jpg").size == (6, 9)


@pytest.mark.parametrize(
    "source",
    [RED / 255, RED[None], RED[:, :, :2], np.zeros((0, 4), np.uint8), RED.astype(np.int64), np.zeros(4, np.uint8)],
    ids=["shares", "a batch", "two channels", "empty", "long integers", "a line"],
)
def test_an_array_that_is_no_image_is_refused_with_its_shape_and_type(source):
    with pytest.raises(ImageError, match=r"An array of shape \(.*\) and type .* is no image: expected"):
        open_image(source)


@pytest.mark.parametrize("content", [b"", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n", png()[:-30], png()[:45]])
def test_a_file_that_is_no_picture_or_half_of_one_is_refused_with_its_name(content, tmp_path):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"broken\.png cannot be read as a picture"):
        open_image(tmp_path / "broken.png")


def test_a_missing_file_a_folder_and_a_string_are_refused(tmp_path):
    with pytest.raises(ImageError, match=r"none\.png is not there"):
        open_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="cannot be read"):
        open_image(tmp_path)
    with pytest.raises(ImageError, match="PIL image, a Path or an array, not str"):
        open_image("picture.png")


@pytest.mark.parametrize("side", [10_000, 60_000])  # Pillow warns of the first and refuses the second
def test_a_bomb_is_refused_before_it_is_unpacked(side, tmp_path):
    (tmp_path / "bomb.png").write_bytes(bomb(side))
    with pytest.raises(ImageError, match=r"bomb\.png has more than 89,478,485 pixels"):
        open_image(tmp_path / "bomb.png")


def test_an_array_is_bound_by_the_limit_of_files(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(ImageError, match="more than 50 pixels"):
        open_image(RED)


# ── Addresses ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_picture_is_downloaded_also_by_a_way_round():
    def answer(handler):
        sends(png())(handler) if handler.path == "/red.png" else sends(b"", 302, Location="/red.png")(handler)

    with server(answer) as home:
        for path in ("/red.png", "/moved"):
            np.testing.assert_array_equal(np.asarray(download_image(home + path)), RED)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a.png", "red.png", "data:image/png;base64,x"])
def test_an_address_that_is_not_of_the_web_is_refused(url):
    with pytest.raises(ImageError, match="is not an address with http or https"):
        download_image(url)


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a.png"])
def test_an_answer_cannot_lead_from_the_web_to_files(target):
    with server(sends(b"", 302, Location=target)) as home, pytest.raises(ImageError, match="could not be downloaded"):
        download_image(home)


def test_reading_stops_at_the_limit_of_bytes_whatever_the_server_says():
    sent = []

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(1000):
                handler.wfile.write(b"x" * 2**16)
                sent.append(1)
        except OSError:
            pass  # the other side hung up

    with server(answer) as home, pytest.raises(ImageError, match="more than 1,000,000 bytes"):
        download_image(home, max_bytes=1_000_000)
    assert len(sent) < 300


def test_a_server_that_is_silent_or_drips_is_given_up_in_time():
    done = threading.Event()

    def answer(handler):
        if handler.path == "/drips":
            handler.send_response(200)
            handler.end_headers()
        while not done.wait(0.05):
            if handler.path == "/drips":
                handler.wfile.write(b"x")
                handler.wfile.flush()

    with server(answer) as home:
        for path in ("/silent", "/drips"):
            start = time.monotonic()
            with pytest.raises(ImageError, match=r"could not be downloaded: .*(timed out|took more than 0\.3 s)"):
                download_image(home + path, timeout=0.3)
            assert time.monotonic() - start < 5
        done.set()


@pytest.mark.parametrize(("content", "code", "words"), [(b"", 404, "404"), (b"<html>", 200, "cannot be read")])
def test_an_error_page_is_no_picture(content, code, words):
    with server(sends(content, code)) as home, pytest.raises(ImageError, match=words):
        download_image(home)
    with pytest.raises(ImageError, match="could not be downloaded"):
        download_image("http://127.0.0.1:9/")  # where nobody answers


# ── Images among texts, on the way through a model ────────────────────────────────────────────────────────────────────


def test_every_kind_of_image_is_encoded_alike_in_its_place(model, tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(png())
    image = Image.fromarray(RED)
    expected, text = model.encode(image), model.encode("red")
    vectors = model.encode([path, "red", RED, image, "red", str(path)])
    np.testing.assert_allclose(vectors[[0, 2, 3]], [expected] * 3, atol=1e-6)
    np.testing.assert_allclose(vectors[[1, 4]], [text] * 2, atol=1e-6)
    np.testing.assert_allclose(vectors[5], model.encode(str(path)), atol=1e-6)
    assert abs(vectors[5] - expected).max() > 0.01, "a string is a text, also if it is the name of a file"
    for one in (path, RED, RED[:, :, 0]):
        assert model.encode(one).shape == expected.shape
    np.testing.assert_allclose(model.encode(np.stack([RED, RED])), [expected] * 2, atol=1e-6)
    np.testing.assert_allclose(model.encode(np.array(["red", "red"])), [text] * 2, atol=1e-6)


def test_an_image_that_is_given_twice_is_opened_once_and_batches_change_nothing(model, tmp_path, monkeypatch):
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(png(np.roll(RED, number, 1) // (number + 1)))
    expected = np.stack([model.encode(path) for path in paths])
    opened = []
    monkeypatch.setattr("workbench.models.clip.open_image", lambda path: opened.append(path) or open_image(path))
    order = [3, 1, 4, 1, 0, 2, 3, 3]
    vectors = model.encode([Path(str(paths[row])) for row in order], batch_size=2)
    np.testing.assert_allclose(vectors, expected[order], atol=1e-6)
    assert sorted(opened) == paths


@pytest.mark.parametrize("output", ["sentence_embedding", None])
def test_an_unreadable_image_is_named_by_its_row(output, model, tmp_path):
    (tmp_path / "good.png").write_bytes(png())
    (tmp_path / "bad.png").write_bytes(png()[:-30])
    rows = ["a dog"] * 3 + [tmp_path / "good.png", tmp_path / "bad.png", "a cat"]
    with pytest.raises(ImageError, match=r"Row 4: .*bad\.png cannot be read") as caught:
        model.encode(rows, output_value=output)
    assert (caught.value.row, caught.value.source) == (4, tmp_path / "bad.png")
    with pytest.raises(ImageError, match=r"Row 1: An array of shape \(6, 9, 3\) and type float64"):
        model.encode([RED, RED / 255], output_value=output)
    assert model.encode(rows[:4]).shape == (4, 8), "the model goes on"


def test_rows_of_a_stream_are_counted_from_its_beginning(model, monkeypatch):
    monkeypatch.setattr("workbench.sentence_transformer.STREAM", 2)
    with pytest.raises(ImageError, match="Row 3: "):
        model.encode(row for row in ["a", "b", RED, RED / 255, "c"])


def test_a_route_names_the_row_of_a_bad_image_too(model):
    routed = SentenceTransformer(modules=[models.Router({"image": [model[0]]})], device="cpu")
    with pytest.raises(ImageError, match="Row 1: "):
        routed.encode([{"image": RED}, {"image": RED / 255}])


def test_a_text_model_takes_no_images():
    with pytest.raises(TextTypeError):
        SentenceTransformer("starter").encode([RED])
    with pytest.raises(TextTypeError):
        SentenceTransformer("starter").encode([Path("red.png")])
