"""An application that enqueues three tickets. It needs `pip install bakehouse` alone, and a system that runs: see README.md."""

from bakehouse import enqueue_record

TICKETS = {
    41: "I was charged twice for the same invoice.",
    42: "The tracking says delivered but no parcel is here.",
    43: "The app freezes on loading since the last update.",
}
TASK = "Route this support ticket to billing, shipping, technical or account. Answer with that one word.\n\nTicket: "

for number, text in TICKETS.items():
    params = {"model": "claude-haiku-5-5", "max_tokens": 16, "messages": [{"role": "user", "content": TASK + text}]}
    print(enqueue_record(params, custom_id=f"ticket-{number}", job="triage"))
