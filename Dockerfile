# Two images: `docker build .` serves models; `docker build --target train .` also trains them.
# Both run as an unprivileged user, also with `--read-only`. The volume must be writable; training
# also writes to /tmp. LABELWRIGHT_MODEL names the model to serve: a mounted bundle folder, or a URI
# that the tracking server in MLFLOW_TRACKING_URI knows.
#
# The base image is pinned by its tag. To pin its content, append the digest
# (python:3.12-slim-bookworm@sha256:...) that this command prints:
#     docker buildx imagetools inspect python:3.12-slim-bookworm
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS base
# A new volume gets the owner of the folder that it is mounted on; compose.yaml mounts one on
# /secrets.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 labelwright \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/labelwright labelwright \
    && install --directory --owner 10001 --group 10001 /var/lib/labelwright /secrets
# Numba needs a writable cache, so the cache is in the state folder. A new named volume starts with
# the kernels that the build compiled. A mounted folder does not, and another model of processor
# cannot use them: there, the first start takes half a minute longer.
ENV LABELWRIGHT_HOME=/var/lib/labelwright \
    NUMBA_CACHE_DIR=/var/lib/labelwright/numba \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1

FROM base AS serve-packages
COPY requirements/serve.txt /tmp/requirements.txt
RUN pip install --require-hashes -r /tmp/requirements.txt

FROM base AS train-packages
COPY requirements/train.txt /tmp/requirements.txt
RUN pip install --require-hashes -r /tmp/requirements.txt

FROM base AS wheel
WORKDIR /source
COPY . .
RUN pip install --require-hashes -r requirements/build.txt \
    && SOURCE_DATE_EPOCH=1580601600 python -m hatchling build --target wheel --directory /wheels

# Training stores the wheel with each model, and looks for it in /usr/local/share/labelwright.
FROM train-packages AS train-installed
COPY --from=wheel /wheels /usr/local/share/labelwright
RUN pip install --no-deps --no-index /usr/local/share/labelwright/*.whl

FROM train-installed AS kernels
RUN NUMBA_CACHE_DIR=/numba python -m labelwright.compile_kernels

FROM train-installed AS train
COPY --from=kernels --chown=10001:10001 /numba /var/lib/labelwright/numba
USER 10001:10001
WORKDIR /var/lib/labelwright
VOLUME /var/lib/labelwright
CMD ["labelwright", "--help"]

FROM serve-packages AS serve
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --no-deps --no-index /wheels/*.whl
COPY --from=kernels --chown=10001:10001 /numba /var/lib/labelwright/numba
USER 10001:10001
WORKDIR /var/lib/labelwright
VOLUME /var/lib/labelwright
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 CMD ["python", "-c", \
    "from urllib import request as r; \
    r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["labelwright", "serve", "--host", "0.0.0.0"]
