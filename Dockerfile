# The pipeline in a container: `docker build --tag sentiment .`, then `docker run --rm sentiment` runs `make demo`.
FROM debian:bookworm-slim

# hadolint ignore=DL3008  # Debian deletes the versions that a pin would name
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates git make python3 python3-venv \
  && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 user
USER 1000
WORKDIR /home/user/sentiment

# The packages first: a change of the code does not install them again.
COPY --chown=1000 Makefile install.py requirements.txt ./
RUN make setup && rm -rf /home/user/.cache
COPY --chown=1000 . .

CMD ["make", "demo"]
