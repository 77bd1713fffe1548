"""The workers. A record's way, one file a station:

    accept   inbox entry -> row, `pending`
    chunk    due records -> a batch, `packed`
    submit   the batch's body -> the API; `uploading`, `closing`, then `in_progress` or `in_doubt`
    poll     one question about all open batches; `ended`
    collect  result lines -> rows, in spans; `collected`
    settle   one decision per custom_id: done, again later, or failed
    deliver  outcomes -> the application's own code

    rescue   janitor: leases that ran out, creates in doubt
    prune    janitor: content and rows past their retention; `forget` deletes at the API what is gone here
    erase    one custom_id's content, at a person's word

`tables` and `store` hold the truth, `gateway` is the only door to the API, `app` and `tasks` are the Celery rim.
"""
