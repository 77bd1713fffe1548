"""steadybatch: a runner with an SQLite checkpoint. Its default is to poll every 30 s; here every 0.5 s, as all."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from steadybatch import Request, Runner
from steadybatch.providers.anthropic_batch import AnthropicBatch


def request(fields: dict) -> Request:
    params = fields["params"]
    return Request(key=fields["custom_id"], messages=params["messages"], max_tokens=params["max_tokens"])


def main(source: Path, output: Path) -> None:
    with source.open(encoding="utf-8") as file:
        requests = [request(json.loads(line)) for line in file]
    runner = Runner(
        AnthropicBatch(), "claude-haiku-4-5", checkpoint="job.sqlite", poll_every=0.5, batch_size=10_000, max_attempts=2
    )
    found = {result.key: result for result in runner.run(requests).results}
    with output.open("w", encoding="utf-8") as out:
        for each in requests:
            result = found.get(each.key)
            told = {"type": str(result.outcome), "text": result.text, "error": result.error} if result else None
            out.write(json.dumps({"custom_id": each.key, "result": told}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
