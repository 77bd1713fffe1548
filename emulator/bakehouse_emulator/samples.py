"""Batch input to try things on: product reviews to classify and support tickets to route.

`python -m bakehouse_emulator.samples reviews|tickets COUNT [--seed N] [--invalid SHARE]` prints one
`{"custom_id", "params"}` a line. The same arguments print the same lines.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

import orjson

MODEL = "claude-haiku-5-5"
FIRST_DAY = date(2026, 11, 3)
PER_DAY = 500
REVIEW_TASK = "Classify the sentiment of this product review as positive, negative or mixed. Answer with that one word."
TICKET_TASK = "Route this support ticket to billing, shipping, technical or account. Answer with that one word."

PRODUCTS = (
    "walking boots",
    "espresso machine",
    "desk lamp",
    "rain jacket",
    "bluetooth speaker",
    "office chair",
    "water bottle",
    "noise-cancelling headphones",
    "tent for two",
    "cast-iron pan",
    "backpack",
    "electric toothbrush",
)
GOOD = (
    "I love it, worth every cent.",
    "The build is sturdy and it looks great.",
    "Excellent value, arrived a day early.",
    "Fantastic quality; I would recommend it to anyone.",
    "Fits perfect, very comfortable from the first day.",
    "My partner is delighted with it.",
)
BAD = (
    "It broke after two weeks.",
    "The handle feels flimsy and it leaks.",
    "Terrible smell out of the box, still there.",
    "It stopped working on the third use.",
    "I asked for a refund and got a voucher.",
    "Really disappointed, the photos promise something else.",
)
NEUTRAL = (
    "Bought it in the autumn sale.",
    "I use it about three times a week.",
    "The box was larger than I thought.",
    "Colour is the dark green one.",
    "This replaces one I had for six years.",
    "Instructions come in nine languages.",
)
TICKETS = {
    "billing": (
        "I was charged twice for the same invoice.",
        "My card was billed after I ended the subscription.",
        "Please send the invoice for March; the price on the payment page is another one.",
    ),
    "shipping": (
        "The tracking says delivered but no parcel is here.",
        "The courier left my package at the wrong address.",
        "My delivery was shipped ten days ago and the tracking does not move.",
    ),
    "technical": (
        "The app freezes on loading since the last update.",
        "I get error 502 and then the app crashes.",
        "Since I install the update, the export crashes with an error.",
    ),
    "account": (
        "I cannot login, the password email never comes.",
        "My profile is locked after three login attempts.",
        "I would like to change the email and username of my profile.",
    ),
}
EXTRAS = (
    "I tried it on two devices.",
    "Could somebody look at this today?",
    "I wrote last week already.",
    "Thanks for your help!",
    "I have been a customer since 2019.",
    "Please answer by the end of the week.",
)


def reviews(count: int, *, seed: int = 0, invalid: float = 0.0) -> Iterator[dict[str, Any]]:
    """So many reviews to classify; `invalid` is the share (0 to 1) that the API can never run."""
    dice = random.Random(f"reviews {seed}")
    for number in range(count):
        yield _line("review", number, REVIEW_TASK, f"Review: {_review(dice)}", spoilt=dice.random() < invalid)


def tickets(count: int, *, seed: int = 0, invalid: float = 0.0) -> Iterator[dict[str, Any]]:
    """So many tickets to route; `invalid` as for reviews."""
    dice = random.Random(f"tickets {seed}")
    for number in range(count):
        yield _line("ticket", number, TICKET_TASK, f"Ticket: {_ticket(dice)}", spoilt=dice.random() < invalid)


def _review(dice: random.Random) -> str:
    mood = dice.choice(("good", "bad", "both"))
    said = [dice.choice(GOOD)] if mood != "bad" else []
    said += [dice.choice(BAD)] if mood != "good" else []
    said += dice.sample(NEUTRAL, dice.randint(1, 3))
    dice.shuffle(said)
    return f"{dice.choice(PRODUCTS).capitalize()}. {' '.join(said)}"


def _ticket(dice: random.Random) -> str:
    extras = dice.sample(EXTRAS, dice.randint(0, 2))
    return " ".join(["Hello,", dice.choice(TICKETS[dice.choice(list(TICKETS))]), *extras])


def _line(kind: str, number: int, task: str, text: str, *, spoilt: bool) -> dict[str, Any]:
    """One input line. A spoilt one asks for more tokens than the model can give: a slip as people make it."""
    day = FIRST_DAY + timedelta(days=number // PER_DAY)
    return {
        "custom_id": f"{kind} {day} #{number % PER_DAY + 1:04d}",
        "params": {
            "model": MODEL,
            "max_tokens": 1_000_000 if spoilt else 16,
            "messages": [{"role": "user", "content": f"{task}\n\n{text}"}],
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the lines."""
    parser = argparse.ArgumentParser(
        prog="python -m bakehouse_emulator.samples", description="Print batch input lines."
    )
    parser.add_argument("kind", choices=("reviews", "tickets"))
    parser.add_argument("count", type=int, help="how many lines")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other texts (default: 0)")
    parser.add_argument("--invalid", type=float, default=0.0, metavar="SHARE", help="share that can never run, 0 to 1")
    given = parser.parse_args(arguments)
    make = reviews if given.kind == "reviews" else tickets
    for line in make(given.count, seed=given.seed, invalid=given.invalid):
        sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
