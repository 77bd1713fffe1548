"""A model as judge: gives each case of a JSONL file a score from 1 to 5, and tells them all at the end. See README.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from statistics import mean
from typing import Any

from bakehouse import enqueue_records, iter_outcomes, job

MODEL = "claude-opus-5-5"
JUDGE = """You judge answers that an assistant gave. Score how right and how helpful an answer is: 1 is wrong, 3 leaves something out,
5 is right and complete. Reply with JSON alone: {"reason": "one short sentence", "score": 1}"""


def records(cases: list[Any]) -> Iterator[dict[str, Any]]:
    """One request for each case."""
    for number, case in enumerate(cases, 1):
        asked = f"<question>\n{case['question']}\n</question>\n<answer>\n{case['answer']}\n</answer>"
        params = {"model": MODEL, "max_tokens": 300, "system": JUDGE, "messages": [{"role": "user", "content": asked}]}
        yield {"custom_id": f"case-{number}", "params": params, "metadata": {"case": number}}


def parse(text: str) -> tuple[int, str] | None:
    """Return the score and its reason; None for what is no verdict. Models put fences or words around their JSON, at times."""
    try:
        verdict = json.loads(text[text.index("{") : text.rindex("}") + 1])
        score, reason = verdict["score"], verdict["reason"]
    except (ValueError, KeyError, TypeError):
        return None
    return (score, str(reason)) if type(score) is int and 1 <= score <= 5 else None


def main(file: Path) -> None:
    """Judge all cases, and print the scores."""
    cases = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    asked = list(records(cases))
    name = f"evaluation-{sha256(json.dumps(asked).encode()).hexdigest()[:12]}"  # what is asked again is paid once
    enqueue_records(asked, job=name)
    run = job(name)
    run.close(expected=len(asked))
    print(f"{len(asked)} cases, job {name}", flush=True)
    run.wait()

    scores: list[int] = []
    cost = 0.0
    for outcome in iter_outcomes(name):
        case, verdict = outcome.metadata["case"], parse(outcome.text)
        cost += outcome.cost or 0.0
        if verdict:
            scores.append(verdict[0])
        why = outcome.error.type if outcome.error else outcome.stop_reason
        print(f"{case:>4}  {verdict[0]}  {verdict[1]}" if verdict else f"{case:>4}  -  no verdict ({why})")
    told = f"mean {mean(scores):.2f}" if scores else "no mean"
    print(f"{told}; {len(scores)} of {len(cases)} cases have a score; ${cost:.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
