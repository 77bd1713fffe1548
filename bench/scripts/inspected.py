"""inspect-ai: its batch mode under as many generate() calls as there are records. An error ends them all."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from inspect_ai.model import BatchConfig, GenerateConfig, get_model


async def work(source: Path, output: Path) -> None:
    with source.open(encoding="utf-8") as file:
        requests = [json.loads(line) for line in file]
    batch = BatchConfig(size=10_000, send_delay=0.5, tick=0.5, max_batches=100)
    config = GenerateConfig(max_tokens=256, batch=batch, max_connections=len(requests))
    model = get_model("anthropic/claude-haiku-4-5", config=config)

    async def ask(fields: dict) -> dict:
        try:
            said = await model.generate(fields["params"]["messages"][0]["content"])
        except Exception as error:
            return {"custom_id": fields["custom_id"], "result": {"type": "errored", "error": type(error).__name__}}
        return {"custom_id": fields["custom_id"], "result": {"type": "succeeded", "text": said.completion}}

    rows = await asyncio.gather(*map(ask, requests))
    with output.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), Path(sys.argv[2])))
