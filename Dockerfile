# syntax=docker/dockerfile:1

# The reference binary, with every event source. Nothing of the build stays in the image.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --locked --profile dist --package examples --bin autoscaler --no-default-features --features full \
    && install -m 0555 target/dist/autoscaler /autoscaler

# No shell and no package manager: glibc, certificate authorities, time zones, and a user without rights.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="autoscaler" \
      org.opencontainers.image.description="KEDA and Karpenter in one process" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /autoscaler /usr/local/bin/autoscaler
USER 65532:65532
# Metrics adapter, admission webhook, /metrics, health.
EXPOSE 6443 9443 8080 8081
ENTRYPOINT ["/usr/local/bin/autoscaler"]
CMD ["run"]
