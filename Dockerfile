# Two images, each from its lock:
#
#   docker build --target cpu --tag subnetray:cpu .
#   docker build --target gpu --tag subnetray:gpu .
#   docker run --rm --shm-size 4g --volume "$PWD/outputs:/home/subnetray/outputs" subnetray:cpu +grid=origins
#
# Both stand on the same small Python: the CUDA libraries are packages of locks/gpu.txt, the very ones that torch and
# vLLM were built against, and the driver comes from the host through the NVIDIA container runtime. Bytecode is part of
# them: their user may not write it.

FROM python:3.11-slim-bookworm AS base
# gcc: Triton compiles its launchers when it runs. libnuma: vLLM's CPU kernels. wget: KubeRay's health probes.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev libnuma1 wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 subnetray
ENV PATH=/opt/venv/bin:$PATH OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1
WORKDIR /src
COPY locks locks
RUN python -m venv /opt/venv \
    && pip install --no-cache-dir "$(grep '^uv==' locks/cpu.txt)"

FROM base AS cpu
RUN uv pip sync --no-cache --compile-bytecode --python /opt/venv/bin/python --torch-backend cpu locks/cpu.txt
COPY . .
RUN uv pip install --no-cache --compile-bytecode --python /opt/venv/bin/python --no-deps --no-build-isolation .
USER subnetray
WORKDIR /home/subnetray
COPY sweeps sweeps
ENTRYPOINT ["python", "-m", "subnetray.sweep"]

FROM base AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN uv pip sync --no-cache --compile-bytecode --python /opt/venv/bin/python locks/gpu.txt
COPY . .
RUN uv pip install --no-cache --compile-bytecode --python /opt/venv/bin/python --no-deps --no-build-isolation .
USER subnetray
WORKDIR /home/subnetray
COPY sweeps sweeps
ENTRYPOINT ["python", "-m", "subnetray.sweep"]
