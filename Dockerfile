# One image for every role: `docker run bakehouse worker --queues control`, `... beat`, `... flower`, `... emulator`.
FROM python:3.13.9-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY producer producer
COPY worker worker
COPY emulator emulator
RUN python -m venv /opt/bakehouse \
    && /opt/bakehouse/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt '.[worker,flower,emulator]'

FROM python:3.13.9-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin bakehouse \
    && install -d -o bakehouse -g bakehouse -m 0700 /var/lib/bakehouse
COPY --from=build /opt/bakehouse /opt/bakehouse
# The data directory holds heartbeats and locks alone: the store is PostgreSQL, and the inbox a Redis of your own.
ENV PATH=/opt/bakehouse/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BAKEHOUSE_DATA_DIR=/var/lib/bakehouse
WORKDIR /var/lib/bakehouse
USER 10001:10001
ENTRYPOINT ["bakehouse"]
CMD ["worker"]
