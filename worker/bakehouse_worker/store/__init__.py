"""Every SQL statement of the workers, as named verbs. Each verb is one transaction and each transition a compare-and-set.

    database   engine, transactions, the clock
    counters   records per job and state, kept by deltas
    records    acceptance: jobs, lanes, records, bodies
    batches    packing, leases, polling, collection
    submissions  one row per POST: closing, accepted, in doubt, abandoned
    results    answers and their settlement
    deliveries outcomes on their way to the application
    holds      why submissions wait
    due        what the next tick should ring for
    reading    status, show, export: nothing here writes

A verb returns what it changed; False, None or an empty list means that somebody else was there first, and nothing was done.
"""
