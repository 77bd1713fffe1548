"""Every SQL statement of the workers, as named verbs. Each verb is one transaction and each transition a compare-and-set.

    database   engine, transactions, the clock
    schema_stamp  which revision the schema has
    counters   records per job and state, kept by deltas
    records    acceptance: records, bodies
    lanes      acceptance: jobs, lanes
    tombstones what stays of pruned records
    packing    which records wait, and how they become batches
    batches    members, leases, polling, collection
    submissions  one row per POST: begun, closing, accepted, refused
    doubts     answers that were lost, and senders
    results    answers and their settlement
    deliveries outcomes on their way to the application
    outbox     the application's own database: records that were committed there
    undelivered  outcomes that were given up
    outcomes   records with the answer that counts
    holds      why submissions wait
    due        what the next tick should ring for
    retention  deleting what need not be kept
    erasing    deleting what a person wants gone
    reading    status, show: nothing here writes
    glance     what status looks at: rows per job, lane and live batch
    uncollected  batches whose results are still at the API
    auditing   what doctor asks

A verb returns what it changed; False, None or an empty list means that somebody else was there first, and nothing was done.
"""
