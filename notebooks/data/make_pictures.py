"""Draw ``pictures/*.png`` and ``captions.csv``: small scenes of shapes and things, each with a caption.

A scene is a ground and the strokes on it, and its caption was written beside it by hand. The files can be made anew:
``python notebooks/data/make_pictures.py``.
"""

import csv
import math
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

SIZE, FINE = 160, 4  # pixels of a side; how many times larger it is drawn before it is scaled down
COLOURS = {
    "red": "#d1382f", "blue": "#2f6fd1", "green": "#3a9a4b", "yellow": "#f2c530", "orange": "#ee8a2a",
    "purple": "#8451b5", "black": "#26282b", "white": "#fbfbf8", "grey": "#8b9198", "brown": "#7d5233",
    "pink": "#ee8fb0", "sand": "#ecd9a6", "sky": "#bfe3f7", "night": "#1d2a4d", "sea": "#3f8fbf",
    "grass": "#8cc46c", "paper": "#f4f1e8", "snow": "#eef3f7",
}  # fmt: skip


class Scene:
    """A square picture whose corner is (0, 0) and whose far corner is (100, 100)."""

    def __init__(self, back: str = "paper", ground: str = "", level: float = 65) -> None:
        self.image = Image.new("RGB", (SIZE * FINE, SIZE * FINE), COLOURS[back])
        self.pen = ImageDraw.Draw(self.image)
        if ground:
            self.box(0, level, 100, 100, ground)

    def small(self) -> Image.Image:
        """The picture in its final size, with few colours, so that its file is small."""
        return self.image.resize((SIZE, SIZE), Image.Resampling.BOX).quantize(48)

    def _at(self, *values: float) -> list[float]:
        return [value * SIZE * FINE / 100 for value in values]

    def box(self, left: float, top: float, right: float, bottom: float, colour: str) -> None:
        """A filled rectangle."""
        self.pen.rectangle(self._at(left, top, right, bottom), COLOURS[colour])

    def disc(self, x: float, y: float, across: float, colour: str, down: float = 0) -> None:
        """A filled circle around (x, y), or an ellipse that measures ``down`` from top to bottom."""
        down = down or across
        self.pen.ellipse(self._at(x - across / 2, y - down / 2, x + across / 2, y + down / 2), COLOURS[colour])

    def ring(self, x: float, y: float, across: float, colour: str, wide: float = 3) -> None:
        """A circle that is not filled."""
        corners = self._at(x - across / 2, y - across / 2, x + across / 2, y + across / 2)
        self.pen.ellipse(corners, outline=COLOURS[colour], width=round(*self._at(wide)))

    def shape(self, colour: str, *points: float) -> None:
        """A filled polygon with its corners x, y, x, y, …"""
        self.pen.polygon(self._at(*points), COLOURS[colour])

    def line(self, colour: str, wide: float, *points: float) -> None:
        """A line through x, y, x, y, …"""
        self.pen.line(self._at(*points), COLOURS[colour], round(*self._at(wide)), joint="curve")

    def corners(self, x: float, y: float, across: float, count: int, colour: str, inner: float = 1) -> None:
        """A regular polygon; with ``inner`` below 1, a star."""
        points = []
        for step in range(2 * count):
            radius, angle = across / 2 * (inner if step % 2 else 1), math.pi * step / count - math.pi / 2
            if inner < 1 or step % 2 == 0:
                points += [x + radius * math.cos(angle), y + radius * math.sin(angle)]
        self.shape(colour, *points)

    def sun(self, x: float = 80, y: float = 20) -> None:
        """A sun with rays."""
        for step in range(8):
            dx, dy = math.cos(step * math.pi / 4), math.sin(step * math.pi / 4)
            self.line("yellow", 2, x + 11 * dx, y + 11 * dy, x + 16 * dx, y + 16 * dy)
        self.disc(x, y, 18, "yellow")

    def moon(self, x: float = 78, y: float = 22) -> None:
        """A crescent in a night sky."""
        self.disc(x, y, 20, "yellow")
        self.disc(x + 6, y - 3, 18, "night")

    def cloud(self, x: float, y: float, colour: str = "white") -> None:
        """A cloud of three puffs."""
        for dx, dy, across in ((-8, 2, 14), (0, -2, 18), (9, 2, 13)):
            self.disc(x + dx, y + dy, across, colour)
        self.box(x - 9, y + 2, x + 10, y + 8.5, colour)

    def tree(self, x: float, foot: float, high: float = 34, colour: str = "green") -> None:
        """A tree with a round crown."""
        self.box(x - high / 14, foot - high / 2, x + high / 14, foot, "brown")
        self.disc(x, foot - high * 0.68, high * 0.66, colour)

    def fir(self, x: float, foot: float, high: float = 36, colour: str = "green") -> None:
        """A fir of three tiers."""
        self.box(x - high / 16, foot - high / 5, x + high / 16, foot, "brown")
        for top in (0, 0.22, 0.44):
            wide = high * (0.2 + 0.28 * top)
            low = foot - high * (0.62 - top)
            self.shape(colour, x, foot - high * (1 - top), x - wide, low, x + wide, low)

    def house(self, x: float, foot: float, wide: float, wall: str, roof: str, door: str = "brown") -> None:
        """A house with a door and a window."""
        top = foot - wide * 0.7
        self.box(x - wide / 2, top, x + wide / 2, foot, wall)
        self.shape(roof, x - wide * 0.6, top, x, top - wide * 0.5, x + wide * 0.6, top)
        self.box(x - wide * 0.3, foot - wide * 0.38, x - wide * 0.08, foot, door)
        self.box(x + wide * 0.08, foot - wide * 0.45, x + wide * 0.32, foot - wide * 0.22, "sky")

    def boat(self, x: float, y: float, hull: str, sail: str) -> None:
        """A sailing boat whose hull swims at y."""
        self.line("brown", 1.6, x, y - 34, x, y)
        self.shape(sail, x + 2, y - 33, x + 2, y - 5, x + 20, y - 5)
        self.shape(hull, x - 20, y - 2, x + 22, y - 2, x + 14, y + 9, x - 13, y + 9)

    def car(self, x: float, foot: float, colour: str) -> None:
        """A car seen from its side."""
        self.shape(colour, x - 11, foot - 22, x + 9, foot - 22, x + 16, foot - 13, x - 17, foot - 13)
        self.box(x - 22, foot - 14, x + 22, foot - 4, colour)
        self.shape("sky", x - 9, foot - 20, x - 1, foot - 20, x - 1, foot - 14, x - 13, foot - 14)
        self.shape("sky", x + 1, foot - 20, x + 8, foot - 20, x + 13, foot - 14, x + 1, foot - 14)
        for dx in (-12, 12):
            self.disc(x + dx, foot - 4, 10, "black")
            self.disc(x + dx, foot - 4, 4, "grey")

    def fish(self, x: float, y: float, colour: str, way: int = 1) -> None:
        """A fish that looks to the right, or to the left with ``way`` -1."""
        self.shape(colour, x - 8 * way, y, x - 19 * way, y - 8, x - 19 * way, y + 8)
        self.disc(x, y, 26, colour, 15)
        self.disc(x + 8 * way, y - 2, 3, "black")

    def bird(self, x: float, y: float, colour: str = "black") -> None:
        """A bird far away."""
        self.line(colour, 1.4, x - 6, y - 3, x - 2, y - 4, x, y, x + 2, y - 4, x + 6, y - 3)

    def flower(self, x: float, foot: float, colour: str, high: float = 26) -> None:
        """A flower with five petals."""
        self.line("green", 1.8, x, foot, x, foot - high)
        for step in range(5):
            angle = step * 2 * math.pi / 5 - math.pi / 2
            self.disc(x + 5 * math.cos(angle), foot - high + 5 * math.sin(angle), 7, colour)
        self.disc(x, foot - high, 6, "orange" if colour == "yellow" else "yellow")

    def cat(self, x: float, foot: float, colour: str) -> None:
        """A sitting cat, seen from the front."""
        self.line(colour, 3, x + 8, foot - 2, x + 16, foot - 5, x + 15, foot - 14)
        self.disc(x, foot - 10, 21, colour, 24)
        for side in (-1, 1):
            self.shape(colour, x + 9 * side, foot - 24, x + 8 * side, foot - 40, x + 1 * side, foot - 31)
        self.disc(x, foot - 26, 20, colour, 17)
        for side in (-1, 1):
            self.disc(x + 4 * side, foot - 27, 3.4, "yellow" if colour == "black" else "black")
        self.disc(x, foot - 23, 2.2, "pink")

    def person(self, x: float, foot: float, shirt: str, arm: float = 8) -> None:
        """A person; ``arm`` is how far the hands are below the shoulders (negative: raised)."""
        for side in (-1, 1):
            self.line("night", 3, x, foot - 14, x + 4 * side, foot)
            self.line(shirt, 2.6, x, foot - 25, x + 9 * side, foot - 25 + arm)
        self.box(x - 4, foot - 28, x + 4, foot - 12, shirt)
        self.disc(x, foot - 33, 9, "sand")

    def mug(self, x: float, foot: float, colour: str, steam: bool = False) -> None:
        """A mug with a handle, with steam above it if it is hot."""
        self.ring(x + 12, foot - 11, 14, colour)
        self.box(x - 11, foot - 22, x + 11, foot, colour)
        for dx in (-5, 0, 5) if steam else ():
            self.line(
                "grey", 1.2, x + dx, foot - 25, x + dx + 2, foot - 30, x + dx - 1, foot - 35, x + dx + 1, foot - 40
            )

    def apple(self, x: float, foot: float, colour: str) -> None:
        """An apple with a leaf."""
        self.disc(x - 4, foot - 10, 18, colour, 20)
        self.disc(x + 4, foot - 10, 18, colour, 20)
        self.line("brown", 1.6, x, foot - 18, x + 1, foot - 25)
        self.disc(x + 6, foot - 24, 9, "green", 4)

    def balloon(self, x: float, y: float, colour: str, string: float = 30) -> None:
        """A balloon on a string."""
        self.line("grey", 1, x, y, x - 2, y + 12 + string / 2, x + 1, y + 12 + string)
        self.shape(colour, x - 3, y + 15, x + 3, y + 15, x, y + 11)
        self.disc(x, y, 22, colour, 26)


Stroke = tuple[Any, ...]  # a method of Scene and what it is given
# fmt: off
PICTURES: list[tuple[str, str, tuple[Any, ...], list[Stroke]]] = [  # name, caption, what Scene is given, strokes
    ("circle_red", "A large red circle.", ("paper",), [("disc", 50, 50, 60, "red")]),
    ("circle_small_blue", "A tiny blue dot in the middle of an empty page.", ("paper",),
     [("disc", 50, 50, 12, "blue")]),
    ("square_green", "A green square.", ("paper",), [("box", 24, 24, 76, 76, "green")]),
    ("triangle_yellow", "A yellow triangle that points upwards.", ("paper",), [("corners", 50, 56, 64, 3, "yellow")]),
    ("triangle_down", "A purple triangle standing on its tip.", ("paper",),
     [("shape", "purple", 20, 28, 80, 28, 50, 78)]),
    ("hexagon_orange", "An orange hexagon, like a cell of a honeycomb.", ("paper",),
     [("corners", 50, 50, 64, 6, "orange")]),
    ("star_one", "One big yellow star on a dark blue ground.", ("night",),
     [("corners", 50, 52, 66, 5, "yellow", 0.42)]),
    ("two_circles", "A red circle to the left of a blue circle.", ("paper",),
     [("disc", 29, 50, 34, "red"), ("disc", 71, 50, 34, "blue")]),
    ("two_circles_swapped", "A blue circle to the left of a red circle.", ("paper",),
     [("disc", 29, 50, 34, "blue"), ("disc", 71, 50, 34, "red")]),
    ("square_on_circle", "A green square on top of a yellow circle.", ("paper",),
     [("disc", 50, 68, 40, "yellow"), ("box", 35, 18, 65, 48, "green")]),
    ("circle_on_square", "A yellow circle on top of a green square.", ("paper",),
     [("box", 32, 50, 68, 86, "green"), ("disc", 50, 33, 34, "yellow")]),
    ("three_squares", "Three black squares in a row.", ("paper",),
     [*(("box", x - 10, 40, x + 10, 60, "black") for x in (20, 50, 80))]),
    ("five_dots", "Five orange dots, placed as on a die.", ("paper",),
     [*(("disc", x, y, 17, "orange") for x, y in ((25, 25), (75, 25), (50, 50), (25, 75), (75, 75)))]),
    ("rings", "Four circles inside each other, like a target.", ("paper",),
     [("disc", 50, 50, 80, "red"), ("disc", 50, 50, 58, "white"), ("disc", 50, 50, 36, "red"), ("disc", 50, 50, 14,
      "white")]),
    ("chessboard", "A board of black and white squares.", ("paper",),
     [*(("box", 10 + 20 * i, 10 + 20 * j, 30 + 20 * i, 30 + 20 * j, ("white", "black")[(i + j) % 2]) for i in range(4)
      for j in range(4))]),
    ("stripes", "Wide stripes in blue and white, from top to bottom.", ("white",),
     [*(("box", x, 0, x + 12.5, 100, "blue") for x in range(0, 100, 25))]),
    ("ring_in_square", "A white ring inside a red square.", ("paper",),
     [("box", 15, 15, 85, 85, "red"), ("ring", 50, 50, 46, "white", 6)]),
    ("cross", "A thick red cross.", ("paper",), [("box", 40, 15, 60, 85, "red"), ("box", 15, 40, 85, 60, "red")]),
    ("arrow_right", "A black arrow pointing to the right.", ("paper",),
     [("box", 14, 44, 60, 56, "black"), ("shape", "black", 58, 28, 58, 72, 88, 50)]),
    ("arrow_left", "A black arrow pointing to the left.", ("paper",),
     [("box", 40, 44, 86, 56, "black"), ("shape", "black", 42, 28, 42, 72, 12, 50)]),
    ("heart", "A pink heart.", ("paper",),
     [("disc", 35, 39, 34, "pink"), ("disc", 65, 39, 34, "pink"), ("shape", "pink", 20, 47, 80, 47, 50, 84)]),
    ("house_sun", "A white house with a red roof in the sunshine.", ("sky", "grass"),
     [("sun",), ("house", 42, 80, 44, "white", "red")]),
    ("house_night", "A white house with a red roof under a crescent moon.", ("night", "grass"),
     [("moon",), ("house", 42, 80, 44, "white", "red")]),
    ("two_houses", "A small yellow house beside a big blue one.", ("sky", "grass"),
     [("house", 26, 82, 26, "yellow", "brown"), ("house", 68, 82, 44, "blue", "grey")]),
    ("house_snow", "A wooden hut in the snow, with two firs.", ("sky", "snow"),
     [("fir", 16, 80), ("house", 52, 82, 36, "brown", "white", "black"), ("fir", 86, 84, 44)]),
    ("tree_alone", "A single tree on a meadow.", ("sky", "grass"), [("tree", 50, 84, 60)]),
    ("tree_autumn", "A tree with orange leaves in autumn.", ("sky", "grass"),
     [("tree", 50, 84, 60, "orange"), ("cloud", 22, 20)]),
    ("trees_three", "Three green trees side by side.", ("sky", "grass"),
     [*(("tree", x, 84, 40) for x in (20, 50, 80))]),
    ("forest_night", "A dark forest of firs beneath the stars.", ("night", "grass"),
     [*(("corners", x, y, 5, 5, "yellow", 0.4) for x, y in ((14, 12), (34, 24), (58, 10), (80, 20), (90, 34))),
      *(("fir", x, 88, 50) for x in (14, 38, 62, 86))]),
    ("boat_red", "A sailing boat with a red hull on a calm sea.", ("sky", "sea", 60),
     [("sun",), ("boat", 46, 66, "red", "white")]),
    ("boats_two", "Two sailing boats, one with a yellow sail.", ("sky", "sea", 60),
     [("boat", 26, 64, "brown", "yellow"), ("boat", 70, 74, "blue", "white")]),
    ("boat_storm", "A boat in the rain under dark clouds.", ("grey", "sea", 60),
     [("cloud", 30, 16, "black"), ("cloud", 68, 12, "black"), ("boat", 50, 70, "brown", "white"), *(("line", "sky", 1,
      x, y, x - 3, y + 8) for x in range(8, 100, 12) for y in (26, 42))]),
    ("beach", "A red and white ball on the beach, with the sea behind it.", ("sky", "sand", 72),
     [("box", 0, 55, 100, 72, "sea"), ("disc", 52, 78, 24, "red"), ("disc", 52, 78, 12, "white", 24)]),
    ("umbrella_beach", "A beach umbrella in yellow and blue.", ("sky", "sand", 72),
     [("sun", 82, 18), ("line", "brown", 2, 45, 30, 45, 84), ("shape", "yellow", 12, 48, 45, 22, 78, 48), ("shape",
      "blue", 34, 48, 45, 22, 56, 48)]),
    ("car_red", "A red car on a grey road.", ("sky", "grey", 76), [("car", 50, 86, "red")]),
    ("car_blue", "A blue car on a grey road.", ("sky", "grey", 76), [("car", 50, 86, "blue")]),
    ("cars_two", "A yellow car follows a green car.", ("sky", "grey", 76),
     [("car", 25, 88, "yellow"), ("car", 75, 88, "green")]),
    ("car_night", "A car on the road at night, with its headlight on.", ("night", "grey", 76),
     [("moon",), ("car", 38, 86, "red"), ("shape", "yellow", 60, 74, 98, 66, 98, 86)]),
    ("bus", "An orange bus with five windows.", ("sky", "grey", 80),
     [("box", 8, 38, 92, 82, "orange"), *(("box", x, 44, x + 11, 58, "sky") for x in (13, 28, 43, 58, 73)), *(("disc",
      x, 82, 15, "black") for x in (28, 72))]),
    ("bicycle", "A bicycle leaning against nothing.", ("sky", "grass", 78),
     [("ring", 27, 74, 32, "black", 2), ("ring", 73, 74, 32, "black", 2), ("line", "red", 2.4, 27, 74, 40, 52, 64, 52,
      73, 74), ("line", "red", 2.4, 40, 52, 50, 74, 64, 52), ("line", "red", 2.4, 27, 74, 50, 74), ("line", "black",
      2.4, 64, 52, 62, 43, 69, 42), ("line", "black", 3, 35, 48, 45, 48)]),
    ("train", "A steam engine with a black funnel and white smoke.", ("sky", "grass", 82),
     [("box", 20, 50, 84, 74, "green"), ("box", 20, 34, 42, 52, "green"), ("box", 25, 38, 37, 49, "sky"), ("box", 66,
      36, 74, 50, "black"), *(("disc", x, y, d, "white") for x, y, d in ((70, 28, 9), (62, 20, 13), (50, 13, 17))),
      *(("disc", x, 76, 13, "black") for x in (30, 52, 74)), ("line", "brown", 2, 0, 83, 100, 83)]),
    ("plane", "A white aeroplane between two clouds.", ("sky",),
     [("cloud", 22, 24), ("cloud", 78, 80), ("disc", 50, 50, 62, "white", 12), ("shape", "grey", 46, 50, 58, 50, 40, 74,
      34, 74), ("shape", "grey", 48, 47, 58, 47, 44, 30, 39, 30), ("shape", "red", 18, 50, 27, 48, 22, 34, 14, 34)]),
    ("fish_one", "An orange fish swims to the right.", ("sea",), [("fish", 50, 50, "orange")]),
    ("fish_left", "An orange fish swims to the left.", ("sea",), [("fish", 50, 50, "orange", -1)]),
    ("fish_school", "Six small fish, all of them yellow but one.", ("sea",),
     [*(("fish", x, y, c) for x, y, c in ((22, 22, "yellow"), (66, 18, "yellow"), (40, 46, "yellow"), (82, 50, "red"),
      (24, 76, "yellow"), (68, 80, "yellow")))]),
    ("birds", "Four birds in the sky above a green hill.", ("sky", "grass"),
     [("disc", 50, 96, 130, "green", 70), *(("bird", x, y) for x, y in ((20, 24), (40, 14), (58, 28), (78, 18)))]),
    ("cat_black", "A black cat with yellow eyes.", ("paper", "brown", 78), [("cat", 50, 86, "black")]),
    ("cats_two", "A grey cat and an orange cat sitting next to each other.", ("paper", "brown", 78),
     [("cat", 28, 86, "grey"), ("cat", 70, 86, "orange")]),
    ("cat_window", "A black cat in front of a window, and the moon outside.", ("night", "brown", 78),
     [("moon", 72, 20), ("line", "white", 3, 50, 0, 50, 78), ("line", "white", 3, 0, 40, 100, 40), ("cat", 34, 88,
      "black")]),
    ("flower_red", "A red flower.", ("sky", "grass"), [("flower", 50, 88, "red", 44)]),
    ("flowers_row", "A row of flowers in pink, yellow and purple.", ("sky", "grass"),
     [*(("flower", x, 86, c, 34) for x, c in ((20, "pink"), (50, "yellow"), (80, "purple")))]),
    ("flower_pot", "A white flower in an orange pot on a table.", ("paper", "brown", 78),
     [("flower", 50, 60, "white", 34), ("shape", "orange", 34, 58, 66, 58, 60, 82, 40, 82)]),
    ("mug_hot", "A steaming cup of coffee on a wooden table.", ("paper", "brown", 75), [("mug", 48, 80, "blue", True)]),
    ("mugs_two", "A red mug and a white mug.", ("paper", "brown", 75),
     [("mug", 26, 80, "red"), ("box", 54, 56, 80, 82, "grey"), ("mug", 67, 80, "white")]),
    ("apple_red", "A red apple on a table.", ("paper", "brown", 75), [("apple", 50, 82, "red")]),
    ("apples_green", "Three green apples and no red one.", ("paper", "brown", 75),
     [*(("apple", x, 82, "green") for x in (20, 50, 80))]),
    ("apple_book", "An apple lies on a thick blue book.", ("paper", "brown", 75),
     [("box", 22, 68, 78, 82, "blue"), ("box", 26, 71, 78, 79, "white"), ("apple", 50, 68, "red")]),
    ("books", "A pile of four books in different colours.", ("paper", "brown", 75),
     [*(("box", x, y, x + 52, y + 10, c) for x, y, c in ((24, 70, "red"), (20, 60, "green"), (26, 50, "yellow"), (22,
      40, "blue")))]),
    ("cake", "A birthday cake with three candles.", ("paper", "brown", 75),
     [("box", 22, 54, 78, 80, "pink"), ("box", 22, 54, 78, 61, "white"), *(("box", x - 1.5, 40, x + 1.5, 54, "blue") for
      x in (34, 50, 66)), *(("disc", x, 37, 4, "orange", 7) for x in (34, 50, 66))]),
    ("balloon_red", "A red balloon in the air.", ("sky",), [("balloon", 50, 38, "red")]),
    ("balloons_three", "Three balloons, a blue one between two yellow ones.", ("sky",),
     [("balloon", 24, 36, "yellow"), ("balloon", 50, 28, "blue"), ("balloon", 76, 36, "yellow")]),
    ("person_waving", "A person in a yellow shirt raises both arms.", ("sky", "grass"),
     [("person", 50, 88, "yellow", -12)]),
    ("people_two", "Two people stand under a tree.", ("sky", "grass"),
     [("tree", 52, 82, 66), ("person", 36, 90, "red"), ("person", 68, 90, "blue")]),
    ("person_balloon", "A child holds a red balloon on a string.", ("sky", "grass"),
     [("person", 40, 88, "blue"), ("balloon", 50, 24, "red", 32)]),
    ("football", "A player in red in front of a goal with a ball.", ("sky", "grass"),
     [("line", "white", 2.4, 58, 84, 58, 52, 94, 52, 94, 84), ("person", 26, 88, "red"), ("disc", 44, 86, 8, "white"),
      ("ring", 44, 86, 8, "black", 1)]),
    ("snowman", "A snowman with a black hat and an orange nose.", ("sky", "snow"),
     [("disc", 50, 76, 36, "white"), ("disc", 50, 50, 26, "white"), ("disc", 50, 31, 18, "white"), ("box", 41, 12, 59,
      24, "black"), ("box", 36, 22, 64, 25, "black"), ("disc", 46, 30, 2.4, "black"), ("disc", 54, 30, 2.4, "black"),
      ("shape", "orange", 50, 32, 50, 36, 62, 35)]),
    ("mountains", "Two mountains with snow on their tops.", ("sky", "grass", 80),
     [("shape", "grey", 0, 80, 34, 26, 68, 80), ("shape", "white", 34, 26, 25, 40, 43, 40), ("shape", "grey", 40, 80,
      72, 36, 100, 80), ("shape", "white", 72, 36, 64, 47, 80, 47)]),
    ("rainbow", "A rainbow over a meadow.", ("sky", "grass", 80),
     [*(("disc", 50, 80, d, c) for d, c in ((90, "red"), (80, "orange"), (70, "yellow"), (60, "green"), (50, "blue"),
      (40, "sky"))), ("box", 0, 80, 100, 100, "grass")]),
    ("lighthouse", "A lighthouse with red and white stripes by the sea.", ("sky", "sea", 70),
     [("disc", 50, 84, 60, "grey", 30), *(("box", 42, y, 58, y + 10, c) for y, c in ((28, "red"), (38, "white"), (48,
      "red"), (58, "white"), (68, "red"))), ("box", 40, 20, 60, 28, "yellow"), ("shape", "black", 38, 20, 50, 10, 62,
      20)]),
    ("island_moon", "A small island with one palm tree in the moonlight.", ("night", "sea", 70),
     [("moon",), ("disc", 48, 78, 60, "sand", 22), ("line", "brown", 3, 48, 74, 52, 40), *(("shape", "green", 52, 40, 52
      + dx, 40 + dy, 52 + dx * 0.5, 44 + dy * 0.2) for dx, dy in ((-24, 4), (-16, -12), (18, -11), (24, 6)))]),
    ("rain", "Rain falls from a white cloud onto a flower.", ("grey", "grass"),
     [("cloud", 50, 18), *(("line", "blue", 1.6, x, y, x - 2, y + 7) for x in (36, 46, 56, 66) for y in (32, 46)),
      ("flower", 50, 90, "yellow", 22)]),
    ("clock", "A round clock that shows three o'clock.", ("paper",),
     [("disc", 50, 50, 74, "white"), ("ring", 50, 50, 76, "black", 4), ("line", "black", 3, 50, 50, 50, 22), ("line",
      "black", 4, 50, 50, 70, 50), ("disc", 50, 50, 6, "black")]),
    ("clock_six", "A round clock that shows six o'clock.", ("paper",),
     [("disc", 50, 50, 74, "white"), ("ring", 50, 50, 76, "black", 4), ("line", "black", 3, 50, 50, 50, 22), ("line",
      "black", 4, 50, 50, 50, 70), ("disc", 50, 50, 6, "black")]),
    ("traffic_light_red", "A traffic light that shows red.", ("paper",),
     [("box", 34, 10, 66, 92, "black"), ("disc", 50, 26, 20, "red"), ("disc", 50, 51, 20, "grey"), ("disc", 50, 76, 20,
      "grey")]),
    ("traffic_light_green", "A traffic light that shows green.", ("paper",),
     [("box", 34, 10, 66, 92, "black"), ("disc", 50, 26, 20, "grey"), ("disc", 50, 51, 20, "grey"), ("disc", 50, 76, 20,
      "green")]),
    ("face_happy", "A yellow face that smiles.", ("paper",),
     [("disc", 50, 50, 76, "yellow"), ("disc", 36, 42, 9, "black"), ("disc", 64, 42, 9, "black"), ("line", "black", 4,
      30, 60, 38, 69, 50, 73, 62, 69, 70, 60)]),
    ("face_sad", "A yellow face that looks sad.", ("paper",),
     [("disc", 50, 50, 76, "yellow"), ("disc", 36, 42, 9, "black"), ("disc", 64, 42, 9, "black"), ("line", "black", 4,
      32, 73, 39, 65, 50, 61, 61, 65, 68, 73)]),
    ("key", "A brown key.", ("paper",),
     [("ring", 28, 50, 30, "brown", 6), ("box", 42, 46, 88, 54, "brown"), ("box", 74, 54, 79, 64, "brown"), ("box", 83,
      54, 88, 62, "brown")]),
    ("pencil", "A yellow pencil with a red end.", ("paper",),
     [("box", 18, 43, 76, 57, "yellow"), ("box", 10, 43, 18, 57, "red"), ("shape", "sand", 76, 43, 76, 57, 90, 50),
      ("shape", "black", 85, 47.5, 85, 52.5, 90, 50)]),
]
# fmt: on


def main(folder: Path = Path(__file__).parent) -> None:
    """Write the pictures and their captions into a folder."""
    (folder / "pictures").mkdir(exist_ok=True)
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "caption"])
        for name, caption, ground, strokes in PICTURES:
            scene = Scene(*ground)
            for stroke, *values in strokes:
                getattr(scene, stroke)(*values)
            scene.small().save(folder / "pictures" / f"{name}.png", optimize=True)
            writer.writerow([f"pictures/{name}.png", caption])


if __name__ == "__main__":
    main()
