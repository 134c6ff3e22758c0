# The images of the driver: --target controller and --target node. Both bases are Debian 12, whose Ceph packages the
# controller is built and run with; the slim one leaves out manuals and translations. Pin them by digest where images are
# released. `go run ./hack/image` builds this very file without a registry, on bases made of Debian's packages.
ARG GO_IMAGE=golang:1.26-bookworm
ARG BASE_IMAGE=debian:12-slim

FROM ${GO_IMAGE} AS source
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .

FROM source AS build-node
ARG VERSION=devel
RUN make VERSION="${VERSION}" strata-node strata-mountd strata-coldfs

# The packages come before the sources, so that a change of those installs nothing.
FROM ${GO_IMAGE} AS build-controller
RUN apt-get update \
 && apt-get install --yes --no-install-recommends librados-dev libcephfs-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY --from=source /src ./
ARG VERSION=devel
RUN make VERSION="${VERSION}" strata-controller

# Needs no privilege: it speaks to Ceph and to S3 stores over the network and to its sidecars over a socket; ca-certificates
# are the authorities that the stores' certificates are checked against. Nothing in either image gains
# privileges by a file's mode, and what installing leaves behind differs from build to build.
FROM ${BASE_IMAGE} AS controller
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates librados2 libcephfs2 \
 && find / -xdev -type f -perm /6000 -exec chmod ug-s {} + \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
COPY --from=build-controller /src/bin/strata-controller /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/strata-controller"]
ARG VERSION=devel
LABEL org.opencontainers.image.title="strata-controller" \
      org.opencontainers.image.description="The controller service of the Strata CSI driver" \
      org.opencontainers.image.source="https://github.com/strata-csi/strata" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"

# Root, because it mounts. The same image runs the holder of mounts, with strata-mountd as its command, which starts the engines
# of cold volumes as an ordinary user. The programs are
# those that the tiers call: ceph-fuse for warm volumes, lvm and the tools of ext4 and XFS for scratch volumes, and for
# an operator's eyes the tools of btrfs. The engines check the stores' certificates against ca-certificates.
FROM ${BASE_IMAGE} AS node
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates ceph-fuse fuse3 mount util-linux e2fsprogs xfsprogs btrfs-progs lvm2 \
 && find / -xdev -type f -perm /6000 -exec chmod ug-s {} + \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
COPY --from=build-node /src/bin/strata-node /src/bin/strata-mountd /src/bin/strata-coldfs /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/strata-node"]
ARG VERSION=devel
LABEL org.opencontainers.image.title="strata-node" \
      org.opencontainers.image.description="The node service of the Strata CSI driver and the holder of its mounts" \
      org.opencontainers.image.source="https://github.com/strata-csi/strata" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
