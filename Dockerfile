# docker build --target cpu -t vcemo:0.1.0 .          (the default)
# docker build --target gpu -t vcemo:0.1.0-gpu .
# docker build --target training -t vcemo:0.1.0-training .
# Add --label org.opencontainers.image.revision=$(git rev-parse HEAD): a label changes no layer.
# Needs BuildKit or buildah, and an index of Python packages while it builds; nothing is fetched while it runs.

FROM python:3.11-slim-bookworm AS python
ENV PATH=/opt/vcemo/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1


# Our own packages, as they lie in an installation.
FROM python AS ours
WORKDIR /src
COPY pyproject.toml README.md ./
COPY model model
COPY service service
COPY training training
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip wheel --no-deps --wheel-dir /wheel . && \
    python -m pip install --no-deps --target /ours /wheel/*.whl


# Every wheel of the locks is binary and jieba is pure Python, so no stage has a compiler.
FROM python AS installed-cpu
COPY requirements/image.lock /requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/vcemo && \
    /opt/vcemo/bin/python -m pip install --no-deps --requirement /requirements/image.lock && \
    /opt/vcemo/bin/python -m pip check


# onnxruntime-gpu takes the place of onnxruntime, in the same folder: the one goes before the other comes. faster-whisper
# asks for the former by name, so pip check would complain here.
FROM installed-cpu AS installed-gpu
COPY requirements/gpu.lock /requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/vcemo/bin/python -m pip uninstall --yes onnxruntime && \
    /opt/vcemo/bin/python -m pip install --no-deps --requirement /requirements/gpu.lock && \
    /opt/vcemo/bin/python -c "from importlib.metadata import packages_distributions; \
found = set(packages_distributions()['onnxruntime']); \
assert found == {'onnxruntime-gpu'}, found"


# With dependencies: those of torch follow from the build of it that pip finds, for CUDA where nothing says otherwise.
FROM installed-cpu AS installed-training
COPY requirements/training.lock /requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/vcemo/bin/python -m pip install --requirement /requirements/training.lock && \
    /opt/vcemo/bin/python -m pip check


# Fetched by as little of our code as it takes, so that a change elsewhere fetches nothing anew.
FROM installed-cpu AS assets
COPY model/__init__.py model/errors.py model/assets.py model/asset_pins.py model/asset_sources.py model/assets.toml /fetching/model/
RUN --mount=type=cache,target=/root/.cache/pip \
    PYTHONPATH=/fetching VCEMO_CACHE=/opt/vcemo/assets \
    /opt/vcemo/bin/python -m model.assets fetch --source index


# The bundle, loaded once: that verifies every checksum and the golden cases.
FROM installed-cpu AS tried
COPY --from=assets /opt/vcemo/assets /opt/vcemo/assets
COPY artifacts/vcemo-whisper-zh /artifacts/vcemo-whisper-zh
ENV VCEMO_CACHE=/opt/vcemo/assets
COPY --from=ours /ours /opt/vcemo/lib/python3.11/site-packages
RUN /opt/vcemo/bin/python -m pip check && \
    /opt/vcemo/bin/python -c "from pathlib import Path; \
from model.assets import AssetStore; \
from model.recognizer import EmotionRecognizer; \
EmotionRecognizer.load(Path('/artifacts/vcemo-whisper-zh'), assets=AssetStore()).warm_up()"


# What changes least comes first: an update of our code is a layer of 4 MB.
FROM python AS runtime
RUN groupadd --gid 10001 vcemo && \
    useradd --uid 10001 --gid vcemo --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin vcemo && \
    install --directory --owner=vcemo --group=vcemo /bundles /cache /var/lib/vcemo
# What outlives a process lies below XDG_STATE_HOME/vcemo: mount a volume there, or it goes with the container.
ENV XDG_STATE_HOME=/var/lib
COPY --from=assets /opt/vcemo/assets /opt/vcemo/assets
WORKDIR /tmp
STOPSIGNAL SIGTERM
LABEL org.opencontainers.image.title="vcemo" \
      org.opencontainers.image.description="Emotion of spoken Mandarin, from its sound and its words" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"


# CUDA's part of training comes with torch. numba compiles for librosa, and keeps that where a file can be written.
FROM runtime AS training
ENV VCEMO_DATA=/data \
    VCEMO_CACHE=/cache \
    NUMBA_CACHE_DIR=/tmp/numba-cache \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=installed-training /opt/vcemo /opt/vcemo
COPY --from=tried /artifacts/vcemo-whisper-zh /artifacts/vcemo-whisper-zh
COPY --chmod=0755 deploy/start-training /opt/vcemo/bin/
COPY --from=ours /ours /opt/vcemo/lib/python3.11/site-packages
USER 10001:10001
HEALTHCHECK NONE
ENTRYPOINT ["/opt/vcemo/bin/start-training"]
CMD ["python", "-m", "training", "--help"]


FROM runtime AS serving
ENV VCEMO_HOST=0.0.0.0 \
    VCEMO_PORT=8000 \
    VCEMO_CACHE=/opt/vcemo/assets \
    VCEMO_BUNDLE=/artifacts/vcemo-whisper-zh \
    VCEMO_LOG_FORMAT=json
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['VCEMO_PORT'] + '/health/ready', timeout=4)"]
CMD ["python", "-m", "service"]


# CUDA 12 and cuDNN 9 come from gpu.lock, pinned like the rest; the host gives the driver (NVIDIA container toolkit).
FROM serving AS gpu
ARG CUDA=/opt/vcemo/lib/python3.11/site-packages/nvidia
ENV VCEMO_DEVICE=cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=$CUDA/cublas/lib:$CUDA/cuda_nvrtc/lib:$CUDA/cuda_runtime/lib:$CUDA/cudnn/lib:$CUDA/cufft/lib:$CUDA/curand/lib:$CUDA/nvjitlink/lib
COPY --from=installed-gpu /opt/vcemo /opt/vcemo
COPY --from=tried /artifacts/vcemo-whisper-zh /artifacts/vcemo-whisper-zh
COPY --from=ours /ours /opt/vcemo/lib/python3.11/site-packages
USER 10001:10001


FROM serving AS cpu
COPY --from=installed-cpu /opt/vcemo /opt/vcemo
COPY --from=tried /artifacts/vcemo-whisper-zh /artifacts/vcemo-whisper-zh
COPY --from=ours /ours /opt/vcemo/lib/python3.11/site-packages
USER 10001:10001
