# docker build --target cpu -t vcemo:0.1.0 .          (the default)
# docker build --target gpu -t vcemo:0.1.0-gpu .
# Needs BuildKit, and an index of Python packages while it builds; nothing is fetched while it runs.

FROM python:3.11-slim-bookworm AS python
# NUMBA_CPU_NAME: compiled on one processor model, a cache is of no use to another unless both name the same.
ENV PATH=/opt/vcemo/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CPU_NAME=generic


FROM python AS wheel
WORKDIR /src
COPY pyproject.toml README.md ./
COPY model model
COPY service service
COPY training training
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --no-deps --wheel-dir /wheel .


# Every wheel of the locks is binary and jieba is pure Python, so no stage has a compiler.
FROM python AS installed-cpu
COPY requirements/base.lock /requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/vcemo && \
    python -m pip install --no-deps --requirement /requirements/base.lock
RUN --mount=type=cache,target=/root/.cache/pip --mount=from=wheel,source=/wheel,target=/wheel \
    python -m pip install --no-deps /wheel/*.whl && \
    python -m pip check


# gpu.lock has onnxruntime-gpu in place of onnxruntime, which faster-whisper asks for: pip check would say so.
FROM python AS installed-gpu
COPY requirements/gpu.lock /requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/vcemo && \
    python -m pip install --no-deps --requirement /requirements/gpu.lock
RUN --mount=type=cache,target=/root/.cache/pip --mount=from=wheel,source=/wheel,target=/wheel \
    python -m pip install --no-deps /wheel/*.whl


# Pre-trained parts and bundle, loaded once: that verifies every checksum and the golden case, and compiles for numba.
FROM installed-cpu AS parts
ENV VCEMO_CACHE=/opt/vcemo/assets \
    NUMBA_CACHE_DIR=/opt/vcemo/numba-cache
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m model.assets fetch --source index
COPY artifacts/vcemo-whisper-zh /artifacts/vcemo-whisper-zh
RUN python -c "from pathlib import Path; \
from model.assets import AssetStore; \
from model.recognizer import EmotionRecognizer; \
EmotionRecognizer.load(Path('/artifacts/vcemo-whisper-zh'), assets=AssetStore()).warm_up()"


FROM python AS runtime
RUN groupadd --gid 10001 vcemo && \
    useradd --uid 10001 --gid vcemo --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin vcemo && \
    install --directory --owner vcemo --group vcemo --mode 0700 /var/lib/vcemo
COPY --from=parts /artifacts/vcemo-whisper-zh /artifacts/vcemo-whisper-zh
ENV VCEMO_HOST=0.0.0.0 \
    VCEMO_PORT=8000 \
    VCEMO_CACHE=/opt/vcemo/assets \
    VCEMO_BUNDLE=/artifacts/vcemo-whisper-zh \
    VCEMO_STATE_FOLDER=/var/lib/vcemo \
    VCEMO_LOG_FORMAT=json \
    NUMBA_CACHE_DIR=/tmp/numba-cache
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['VCEMO_PORT'] + '/health/ready', timeout=4)"]
ENTRYPOINT ["/opt/vcemo/bin/start"]
CMD ["python", "-m", "service"]


# CUDA 12 and cuDNN 9 come from gpu.lock, pinned like the rest; the host gives the driver (NVIDIA container toolkit).
FROM runtime AS gpu
ARG CUDA=/opt/vcemo/lib/python3.11/site-packages/nvidia
ENV VCEMO_DEVICE=cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=$CUDA/cublas/lib:$CUDA/cuda_nvrtc/lib:$CUDA/cuda_runtime/lib:$CUDA/cudnn/lib:$CUDA/cufft/lib:$CUDA/curand/lib:$CUDA/nvjitlink/lib
COPY --from=installed-gpu /opt/vcemo /opt/vcemo
COPY --from=parts /opt/vcemo/assets /opt/vcemo/assets
COPY --from=parts /opt/vcemo/numba-cache /opt/vcemo/numba-cache
COPY --chmod=0755 deploy/start /opt/vcemo/bin/start


FROM runtime AS cpu
COPY --from=parts /opt/vcemo /opt/vcemo
COPY --chmod=0755 deploy/start /opt/vcemo/bin/start
