# docker build . -t streamer
# docker run -p 8000:8000 -d streamer

FROM rust:1-slim AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src ./src
# One static binary of the machine's own architecture: the libc goes in. Naming the target, even though it is the
# host, keeps the flag away from anything that runs during the build.
RUN target="$(rustc --print host-tuple)" \
 && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --target "$target" \
 && cp "target/$target/release/streamer" /streamer

FROM scratch
COPY --from=build /streamer /streamer
# Nobody, by number: an empty image has no /etc/passwd to look a name up in.
USER 65534:65534
ENV STREAMER_LISTEN=0.0.0.0:8000
# Any well-formed user name gets in, with any password: right for trying it out, or behind a gateway that has checked
# the user. Otherwise choose another mode; a flag wins over this variable:
#   docker run -p 8000:8000 -v /etc/streamer:/etc/streamer:ro -d streamer --users /etc/streamer/users
# Of the variables only one may be set, so with -e STREAMER_USERS=… goes -e STREAMER_OPEN=0.
# User 65534 must be able to read the file. SIGHUP (`docker kill -s HUP …`) reads it again.
ENV STREAMER_OPEN=1
EXPOSE 8000
STOPSIGNAL SIGTERM
# It reads STREAMER_LISTEN: another port goes in there, not into --listen.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/streamer", "check"]
ENTRYPOINT ["/streamer"]
