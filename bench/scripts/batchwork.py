"""batchwork-ai: one job at a time, no store, no retry, 50,000 requests to a job; here 10,000, one after the other."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from itertools import islice
from pathlib import Path

HERE = str(Path(__file__).parent)
sys.path[:] = [entry for entry in sys.path if entry != HERE]  # this file bears the package's name

from batchwork import BatchRequest, Batchwork  # noqa: E402

SIZE = 10_000
MODEL = "anthropic/claude-haiku-4-5"


def request(fields: dict) -> BatchRequest:
    [message], tokens = fields["params"]["messages"], fields["params"]["max_tokens"]
    return BatchRequest(custom_id=fields["custom_id"], prompt=message["content"], max_output_tokens=tokens)


async def work(source: Path, output: Path) -> None:
    url, key = os.environ["ANTHROPIC_BASE_URL"], os.environ["ANTHROPIC_API_KEY"]
    found, order = {}, []
    async with Batchwork() as client:
        with source.open(encoding="utf-8") as file:
            while requests := [request(json.loads(line)) for line in islice(file, SIZE)]:
                order += [each.custom_id for each in requests]
                job = await client.batch(model=MODEL, requests=requests, api_key=key, base_url=url)
                await job.wait(poll_interval=0.5)
                async for result in job.results():
                    told = {"type": str(result.status), "text": result.text}
                    found[result.custom_id] = told | {"error": result.error and result.error.model_dump(mode="json")}
    with output.open("w", encoding="utf-8") as out:
        for custom_id in order:
            out.write(json.dumps({"custom_id": custom_id, "result": found.get(custom_id)}) + "\n")


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), Path(sys.argv[2])))
