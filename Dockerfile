# docker build . -t streamer                                        for this machine
# docker build . -t streamer --platform linux/arm64                 for another: amd64 or arm64, built here, emulating nothing
# docker run -p 8000:8000 -d streamer

# BuildKit says for which platform it builds; the classic builder does not, and takes its own.
FROM --platform=${BUILDPLATFORM:-linux} rust:1-slim AS build
WORKDIR /build
# There is no package to build before: these files are all that the build reads.
COPY Cargo.toml Cargo.lock ./
COPY src ./src
COPY ops/static.sh ./ops/
ARG TARGETARCH
RUN mkdir -p /image/state && cp "$(ops/static.sh $TARGETARCH)" /image/

FROM scratch
LABEL org.opencontainers.image.title="streamer" \
      org.opencontainers.image.description="Tells a video platform whether a user may start one more stream" \
      org.opencontainers.image.version="2.0.0" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /image/streamer /streamer
# With `-v streams:/var/lib/streamer` and `--store dir:/var/lib/streamer` the streams outlive the container: a new volume
# gets the owner of the folder that it covers.
COPY --from=build --chown=65534:65534 /image/state /var/lib/streamer
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
# It asks where the container's first process listens, also with --listen.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/streamer", "check"]
ENTRYPOINT ["/streamer"]
