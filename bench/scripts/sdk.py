"""The bare SDK, as a decent engineer writes it: batches of 10,000, create, poll, results into a dict, JSONL in input order.

Nothing is stored: killed, it begins anew. Retries are the SDK's own.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import islice
from pathlib import Path

import anthropic

SIZE = 10_000
POLL = 0.5


def main(source: Path, output: Path) -> None:
    client = anthropic.Anthropic()
    batches, order = [], []
    with source.open(encoding="utf-8") as file:
        while requests := [json.loads(line) for line in islice(file, SIZE)]:
            order += [request["custom_id"] for request in requests]
            batches.append(client.messages.batches.create(requests=requests).id)
    results = {}
    for batch in batches:
        while client.messages.batches.retrieve(batch).processing_status != "ended":
            time.sleep(POLL)
        for entry in client.messages.batches.results(batch):
            results[entry.custom_id] = entry.result
    with output.open("w", encoding="utf-8") as out:
        for custom_id in order:
            result = results.get(custom_id)
            line = {"custom_id": custom_id, "result": result.model_dump(mode="json") if result else None}
            out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
