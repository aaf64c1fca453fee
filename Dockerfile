# The image of a cluster's nodes, and of one machine:
#
#   docker build -t vsumdata:0.1.0-cuda .
#   docker build -t vsumdata:0.1.0-cpu --build-arg DEVICE=cpu --build-arg TORCH_CPU_INDEX=URL .
#   docker run --init --rm vsumdata:0.1.0-cpu doctor
#
# DEVICE=cuda takes torch as the package registry has it for Linux: CUDA's libraries come as packages, only the driver is
# the machine's. DEVICE=cpu takes it from the index that pytorch.org names for CPUs, and is gigabytes smaller.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS wheel
WORKDIR /src
# hadolint ignore=DL3013
RUN pip install --no-cache-dir build
COPY pyproject.toml README.md LICENSE __init__.py py.typed ./
COPY manifests manifests
COPY datasets datasets
COPY stages stages
COPY train train
COPY pipeline pipeline
COPY recipes recipes
RUN python -m build --wheel --outdir /wheels

FROM python:${PYTHON}
ARG DEVICE=cuda
ARG TORCH_CPU_INDEX=
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# KubeRay's probes call wget.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates wget \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /install
COPY constraints.txt ./
COPY --from=wheel /wheels ./
# torch and torchvision from one index: beside the registry's torchvision, a torch for CPUs does not import.
RUN case "$DEVICE" in \
      cuda) ;; \
      cpu) pip install --no-cache-dir --constraint constraints.txt \
             --index-url "${TORCH_CPU_INDEX:?DEVICE=cpu needs --build-arg TORCH_CPU_INDEX=URL}" torch torchvision ;; \
      *) echo "DEVICE is cuda or cpu, not $DEVICE"; exit 1 ;; \
    esac
# Into /usr/local, not a virtual environment: KubeRay starts Ray in a login shell, which forgets the PATH.
RUN pip install --no-cache-dir --constraint constraints.txt ./*.whl && rm -rf /install/*
# By number, as Kubernetes needs it to see that it is not root.
RUN useradd --uid 1000 --create-home vsumdata
USER 1000
WORKDIR /home/vsumdata
ENV RAY_USAGE_STATS_ENABLED=0
HEALTHCHECK NONE
ENTRYPOINT ["vsumdata"]
CMD ["--help"]
