"""bespokelabs-curator: a cache of its own, batches of 10,000, looks every second. Its answers come as a data set, in input order."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from bespokelabs import curator


def main(source: Path, output: Path) -> None:
    with source.open(encoding="utf-8") as file:
        requests = [json.loads(line) for line in file]
    params = {"base_url": os.environ["ANTHROPIC_BASE_URL"], "batch_size": 10_000, "batch_check_interval": 1}
    llm = curator.LLM(
        model_name="claude-haiku-4-5",
        backend="anthropic",
        batch=True,
        backend_params={**params, "require_all_responses": False},
    )
    prompts = {each["params"]["messages"][0]["content"]: each["custom_id"] for each in requests}
    rows = llm(list(prompts))
    rows = getattr(rows, "dataset", rows)
    names = list(prompts.values())
    with output.open("w", encoding="utf-8") as out:
        for number, row in enumerate(rows):
            out.write(json.dumps({"custom_id": names[number], "result": row.get("response")}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
