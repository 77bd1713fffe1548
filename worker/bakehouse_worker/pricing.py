"""What an answer cost, in USD: genai-prices' dated data, at batch prices and at synchronous ones.

A price is a rate per token within a band of prompt lengths, so a model's rates are asked for once per band and multiplied here:
asking the library for every answer costs 75 microseconds each.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

#: Prompt lengths at which some model's band begins or may begin; prices within a band do not change.
BANDS = (0, 32_000, 100_000, 128_000, 200_000, 256_000, 272_000)


class Tokens(NamedTuple):
    """The token counts of one answer, as the API bills them."""

    input: int
    output: int
    write_5m: int
    write_1h: int
    read: int

    @property
    def prompt(self) -> int:
        """All tokens of the prompt, cached or not: what a band is chosen by."""
        return self.input + self.write_5m + self.write_1h + self.read


class _Rates(NamedTuple):
    """USD per token, in the order of Tokens."""

    input: float
    output: float
    write_5m: float
    write_1h: float
    read: float


def tokens(usage: Mapping[str, Any]) -> Tokens:
    """Read a message's `usage`; what is absent is 0."""
    written = _count(usage.get("cache_creation_input_tokens"))
    write_1h = 0
    if written and isinstance(detail := usage.get("cache_creation"), Mapping):
        write_1h = min(written, _count(detail.get("ephemeral_1h_input_tokens")))
    return Tokens(
        _count(usage.get("input_tokens")),
        _count(usage.get("output_tokens")),
        written - write_1h,
        write_1h,
        _count(usage.get("cache_read_input_tokens")),
    )


def cost(model: str, used: Tokens, *, geo: str | None = None) -> tuple[float, float] | None:
    """Return (batch price, synchronous price) in USD, or None for a model without a known price. `geo` "us" costs 1.1 times."""
    rates = _both(model, BANDS[max(0, bisect_left(BANDS, used.prompt) - 1)])
    if rates is None:
        return None
    factor = 1.1 if geo == "us" else 1.0
    batch, sync, half = rates
    return factor * half * _sum(batch, used), factor * _sum(sync, used)


@lru_cache(maxsize=256)
def _both(model: str, band: int) -> tuple[_Rates, _Rates, float] | None:
    """Return a batch's rates, a synchronous call's, and what the former are to be multiplied by."""
    batch, sync = _rates(model, band, "batch"), _rates(model, band, "standard")
    if batch is None or sync is None:
        return None
    return batch, sync, 0.5 if batch == sync else 1.0  # retired models have no batch price of their own in the data


def _sum(rates: _Rates, used: Tokens) -> float:
    return (
        rates.input * used.input
        + rates.output * used.output
        + rates.write_5m * used.write_5m
        + rates.write_1h * used.write_1h
        + rates.read * used.read
    )


def _rates(model: str, band: int, processing: str) -> _Rates | None:
    """Ask for the price of one more token of each kind, in a prompt that lies in the band."""
    from genai_prices import Usage, calc_price

    prompt, more = band + 1_000, 1_000
    context: Any = {"processing": "batch"} if processing == "batch" else None

    def price(**used: int) -> float:
        found = calc_price(Usage(**used), model_ref=model, provider_id="anthropic", price_context=context)
        return float(found.total_price)

    try:
        plain = price(input_tokens=prompt)
        cached = prompt + more  # the library counts cached tokens as part of the input
        prices = {
            "input": plain / prompt,
            "output": (price(input_tokens=prompt, output_tokens=more) - plain) / more,
            "write_5m": (price(input_tokens=cached, cache_write_tokens=more) - plain) / more,
            "write_1h": (price(input_tokens=cached, cache_write_tokens=more, cache_write_1h_tokens=more) - plain)
            / more,
            "read": (price(input_tokens=cached, cache_read_tokens=more) - plain) / more,
        }
    except LookupError:
        return None
    return _Rates(**{kind: round(rate, 14) for kind, rate in prices.items()})


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
