"""Write ``sentences.csv`` and ``questions.csv``: short sentences on twelve subjects, and questions in other words.

Every row comes from a pattern of this file, filled by a seeded draw, so the files can be made anew, letter by letter:
``python notebooks/data/make_sentences.py``.
"""

import csv
import itertools
import random
import re
from pathlib import Path

SENTENCES, QUESTIONS = 6_000, 240

# For each subject: patterns of sentences, patterns of questions, and the words that fill both.
SUBJECTS = {
    "cooking": (
        ["Let the {dish} simmer {time} before you add the {spice}.", "My {cook} puts {spice} into every {dish}.",
         "This {dish} tastes flat without a little {spice}.", "The {dish} burned because the {cook} forgot it {time}."],
        ["How can I season a {dish}?", "Who in the family cooks {dish} with {spice}?"],
        {"dish": "lentil soup|tomato sauce|beef stew|mushroom risotto|chickpea curry|onion gravy|pumpkin soup",
         "spice": "cumin|fresh basil|smoked paprika|ginger|black pepper|thyme|lemon zest|garlic",
         "cook": "grandmother|neighbour|brother|flatmate|uncle",
         "time": "for ten minutes|for half an hour|over low heat|until noon|overnight"},
    ),
    "weather": (
        ["{sky} is expected over the {place} {day}.", "{sky} closed the road along the {place} {day}.",
         "The forecast for {day} speaks of {sky} near the {place}.", "We saw {sky} above the {place} {day}."],
        ["Is {sky} coming to the {place}?", "What will it be like outdoors at the {place} {day}?"],
        {"sky": "heavy snow|thick fog|a thunderstorm|freezing rain|strong wind|bright sunshine|hail|drizzle",
         "place": "coast|northern hills|valley|lake|harbour|mountain pass|river delta",
         "day": "tonight|tomorrow|on Sunday|this weekend|before dawn|on Monday morning"},
    ),
    "trains": (
        ["The {train} to {town} leaves from platform {number}.", "The {train} to {town} is late {cause}.",
         "Seats on the {train} to {town} are sold out {cause}.", "In {town}, the {train} waits at platform {number}."],
        ["When does the {train} to {town} go?", "Why is there a delay on the way to {town}?"],
        {"train": "night train|express|regional train|slow train|first train|last train",
         "town": "Ghent|Porto|Turin|Bergen|Krakow|Lyon|Graz|Tartu|Bilbao", "number": "two|five|nine|eleven|fourteen",
         "cause": "because of a signal fault|because of the strike|for the holiday|after the storm|due to repairs"},
    ),
    "football": (
        ["The {player} scored {when} against {club}.", "{club} lost the {cup} {when}.",
         "The {player} of {club} was sent off {when}.", "A {player} won the {cup} for {club} {when}."],
        ["Which {player} decided the {cup}?", "How did {club} play in the {cup}?"],
        {"player": "young striker|goalkeeper|captain|left back|substitute|midfielder",
         "club": "the harbour team|the visitors|the champions|the home side|the newcomers|the old rivals",
         "cup": "final|quarter-final|derby|friendly match|league game",
         "when": "in the last minute|after half-time|in extra time|on penalties|early in the game"},
    ),
    "computers": (
        ["The {device} shows {fault} {after}.", "{fault} on the {device} went away when I {cure}.",
         "To get rid of {fault} on a {device}, the manual says they {cure}.", "Our {device} had {fault} {after}."],
        ["What helps when a {device} has {fault}?", "My {device} stopped working {after}, what now?"],
        {"device": "laptop|printer|router|tablet|desktop computer|scanner|phone",
         "fault": "a blank screen|a paper jam|an endless restart|a weak signal|a full disk|a battery warning",
         "after": "after the update|since yesterday|when it is warm|every morning|after it was dropped",
         "cure": "restarted it|replaced the cable|reset the settings|cleaned the fan|installed the old driver"},
    ),
    "garden": (
        ["Plant the {plant} {season}, next to the {spot}.", "{pest} ate the {plant} by the {spot}.",
         "Water the {plant} at the {spot} {season}.", "Against {pest} on the {plant}, use wood ash {season}."],
        ["How do I protect my {plant} from {pest}?", "What is the best spot for my {plant}?"],
        {"plant": "tomatoes|roses|strawberries|lettuce|blueberries|beans|lavender|courgettes",
         "pest": "snails|aphids|caterpillars|moles|blackbirds|beetles",
         "spot": "south wall|compost heap|greenhouse|old fence|pond|apple tree",
         "season": "in early spring|after the last frost|in late summer|in autumn|during dry weeks"},
    ),
    "money": (
        ["The {bank} raised the {fee} on a {account} {date}.", "The {fee} for the {account} is due {date}.",
         "I closed my {account} at the {bank} over the {fee}.", "The {bank} waived the {fee} of our {account} {date}."],
        ["What does a {account} at the {bank} cost?", "When must I pay the {fee}?"],
        {"bank": "savings bank|credit union|online bank|building society|post bank",
         "account": "current account|student loan|mortgage|credit card|savings plan|car loan",
         "fee": "interest rate|monthly fee|late charge|transfer fee|deposit|overdraft fee",
         "date": "in January|at the end of the month|without notice|next quarter|twice a year"},
    ),
    "music": (
        ["The {player} practised the {piece} {where}.", "A {player} played the {piece} {where}, {how}.",
         "The {piece} was recorded {where} by an unknown {player}.", "Everyone heard the {player} play {how} {where}."],
        ["Who performed the {piece}?", "Where can I listen to a {player}?"],
        {"player": "violinist|pianist|jazz drummer|cellist|church organist|street guitarist|trumpeter",
         "piece": "slow waltz|second sonata|wedding march|blues in G|lullaby|overture|folk song",
         "where": "in the old theatre|in a crowded bar|at the open-air stage|in the chapel|at home|in the studio",
         "how": "far too fast|without a mistake|from memory|with closed eyes|for two hours"},
    ),
    "health": (
        ["The {doctor} gave me {remedy} for my {pain} {time}.", "{remedy} did not help against the {pain} {time}.",
         "My {pain} came back {time}, so I saw the {doctor}.", "The {doctor} says a {pain} needs {remedy} {time}."],
        ["What can I do about {pain}?", "Should I see a {doctor} for {pain}?"],
        {"doctor": "family doctor|dentist|physiotherapist|pharmacist|eye specialist|night nurse",
         "pain": "back pain|toothache|migraine|sore throat|swollen knee|cough|skin rash",
         "remedy": "warm compresses|strong tablets|rest and tea|a course of exercises|an ointment|eye drops",
         "time": "twice a day|after the holidays|for a week|before sleep|last winter"},
    ),
    "school": (
        ["The {pupil} missed the {lesson} {why}.", "The {lesson} test failed {when} {why}.",
         "A {pupil} explained the {lesson} homework to us {when}.", "The {lesson} teacher praised the {pupil} {when}."],
        ["Why was the {lesson} class cancelled?", "Who can help with {lesson} homework?"],
        {"pupil": "shy boy|new girl|class speaker|exchange student|oldest twin|tall boy",
         "lesson": "maths|geography|chemistry|history|Spanish|biology|drawing",
         "when": "on Friday|after the break|before the summer|in the library|during the excursion",
         "why": "because of the flu|for the school play|as the bus broke down|due to the heat|for a funeral"},
    ),
    "animals": (
        ["A {animal} {act} {place} {time}.", "{time} the {animal} that lives {place} {act}.",
         "Nobody had seen a {animal} {place} until one {act} {time}.", "The ranger saw how a {animal} {act} {place}."],
        ["Where can one watch a {animal}?", "What did the {animal} do {place}?"],
        {"animal": "red fox|barn owl|grey seal|hedgehog|stork|otter|wild boar|young lynx",
         "act": "raised three young|stole a fish|hid from the dogs|crossed the road|built a nest|was caught in a net",
         "place": "behind the mill|on the island|in the city park|near the dam|at the edge of the forest",
         "time": "at dusk|last spring|in the rain|for the first time|every night"},
    ),
    "housing": (
        ["The {part} of the {home} leaks {when}.", "The landlord of the {home} repaired the {part} {when}.",
         "The {home} gets dearer {when} and still has no new {part}.",
         "We painted the {part} of our {home} {when}."],
        ["Who has to repair the {part} in a {home}?", "How much more does the {home} cost?"],
        {"part": "roof|kitchen sink|heating|front door|balcony|bathroom window|cellar wall|staircase",
         "home": "two-room flat|farmhouse|attic flat|terraced house|shared flat|houseboat|studio",
         "when": "again|since March|after three letters|by a fifth|on the weekend|without asking us|at last"},
    ),
}  # fmt: skip


def filled(patterns: list[str], words: dict[str, str]) -> list[str]:
    """Every sentence that the patterns give with every choice of words, each with a capital at its start."""
    choices = {name: options.split("|") for name, options in words.items()}
    found = []
    for pattern in patterns:
        slots = [name for name in choices if "{" + name + "}" in pattern]
        for values in itertools.product(*(choices[slot] for slot in slots)):
            text = re.sub(
                r"\b(a) (?=[aeiou])", r"\1n ", pattern.format(**dict(zip(slots, values, strict=True))), flags=re.I
            )
            found.append(text[0].upper() + text[1:])
    return list(dict.fromkeys(found))


def rows(part: int, count: int, seed: int) -> list[tuple[str, str]]:
    """As many rows of each subject: (text, subject), in a random order that is always the same."""
    draw = random.Random(seed)  # noqa: S311 (no secret)
    table = []
    for subject, entry in SUBJECTS.items():
        texts = filled(entry[part], entry[2])
        table += [(text, subject) for text in draw.sample(texts, min(len(texts), count // len(SUBJECTS)))]
    draw.shuffle(table)
    return table


def main(folder: Path = Path(__file__).parent) -> None:
    """Write both files into a folder."""
    for name, part, count in (("sentences.csv", 0, SENTENCES), ("questions.csv", 1, QUESTIONS)):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["text", "subject"])
            writer.writerows(rows(part, count, seed=part))


if __name__ == "__main__":
    main()
