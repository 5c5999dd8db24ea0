# A static binary and nothing else.

# By its tag: the compiler and its fixes come with a rebuild, and nothing of this image but what it builds is shipped. To
# have one that never changes, give its digest: --build-arg BUILDER=rust@sha256:…
ARG BUILDER=rust:1-slim
FROM ${BUILDER} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY .cargo ./.cargo
COPY src ./src
COPY benches ./benches
RUN host="$(rustc -vV | sed -n 's/^host: //p')" \
 && cargo build --release --locked --config .cargo/static.toml --target "$host" \
 && install -D "target/$host/release/gatelet" /image/gatelet \
 && install -d -m 0700 -o 65532 -g 65532 /image/data

FROM scratch
COPY --from=build --chown=65532:65532 /image/ /
USER 65532:65532
ENV PATH=/ GATELET_LISTEN=0.0.0.0:5000 GATELET_DATA_DIR=/data
VOLUME /data
EXPOSE 5000
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s CMD ["/gatelet", "healthcheck"]
ENTRYPOINT ["/gatelet"]
CMD ["serve"]
