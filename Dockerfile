# farebox in an image: `docker build -t farebox .`; about 40 MB above Debian's slim image. Runs as a user without rights, from a root that may be
# read-only: it writes nothing but the users key, where users.hash_key_file says.
FROM rust:1.90-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends g++ make perl && rm -rf /var/lib/apt/lists/*
WORKDIR /farebox
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY config config
COPY benches benches
COPY examples examples
COPY tests tests
RUN cargo build --release --locked --bin farebox && strip target/release/farebox

FROM debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home farebox && install -d -o farebox -g farebox /var/lib/farebox
COPY --from=build /farebox/target/release/farebox /usr/local/bin/farebox
USER 10001
WORKDIR /var/lib/farebox
VOLUME /var/lib/farebox
ENV FAREBOX_METRICS__LISTEN=0.0.0.0:7401 FAREBOX_USERS__HASH_KEY_FILE=/var/lib/farebox/farebox.key FAREBOX_LOG__FORMAT=json
EXPOSE 7401
ENTRYPOINT ["farebox"]
CMD ["run"]
