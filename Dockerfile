# The image holds the program, the libraries that it is linked with, and an empty folder for its data: no
# shell, no package manager, nothing else to patch. Debian's own slim image would be 75 MB more, and a
# statically linked program would look names up by other rules than the host's.
#
# docs/deploy.md has it with Compose and in Kubernetes. By itself:
#
#   docker build -t xinyao-gateway .
#   docker run -v ./config.yaml:/etc/xinyao-gateway/config.yaml:ro -v gateway-data:/data \
#     -e XINYAO_APIKEY -e XINYAO_APISECRET -e CALLBACK_KEY -p 8080:8080 -p 8081:8081 \
#     --stop-timeout 35 xinyao-gateway

FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin xinyao-gateway
# `store.path` is relative to the working directory, `/`, unless it says otherwise.
RUN mkdir -p /image/etc /empty \
    && echo "hosts: files dns" > /image/etc/nsswitch.conf \
    && cp target/release/xinyao-gateway /image/ \
    && ldd /image/xinyao-gateway | grep -o '/[^ ]*' | xargs -I{} cp --parents --dereference {} /image

FROM scratch
COPY --from=build /image /
COPY --from=build --chown=65532:65532 /empty /data
# Certificates of public authorities are built in; mount /etc/ssl/certs to have the host's used instead.
USER 65532:65532
VOLUME /data
EXPOSE 8080 8081 9090
# The admin listener answers it from inside, whatever address it is configured to have.
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s --retries=3 \
    CMD ["/xinyao-gateway", "health", "--config", "/etc/xinyao-gateway/config.yaml"]
# It finishes what is under way for up to 30 s after SIGTERM.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/xinyao-gateway"]
CMD ["run", "--config", "/etc/xinyao-gateway/config.yaml"]
