# The images of the driver: --target controller and --target node. Both bases are Debian 12, whose Ceph packages the
# controller is built and run with. Pin them by digest where images are released.
ARG GO_IMAGE=golang:1.26-bookworm
ARG BASE_IMAGE=debian:12-slim

FROM ${GO_IMAGE} AS source
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel

FROM source AS build-node
RUN make VERSION="${VERSION}" strata-node strata-mountd

FROM source AS build-controller
RUN apt-get update \
 && apt-get install --yes --no-install-recommends librados-dev libcephfs-dev \
 && rm -rf /var/lib/apt/lists/*
RUN make VERSION="${VERSION}" strata-controller

# Needs no privilege: it speaks to Ceph over the network and to its sidecars over a socket.
FROM ${BASE_IMAGE} AS controller
RUN apt-get update \
 && apt-get install --yes --no-install-recommends librados2 libcephfs2 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build-controller /src/bin/strata-controller /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/strata-controller"]

# Root, because it mounts. The same image runs the holder of mounts, with strata-mountd as its command.
FROM ${BASE_IMAGE} AS node
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ceph-fuse fuse3 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build-node /src/bin/strata-node /src/bin/strata-mountd /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/strata-node"]
