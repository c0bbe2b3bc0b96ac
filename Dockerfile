# An image with the result of `make install`, and the environment activated. Its commands were run in a plain Debian
# bookworm system with Python 3.11 (docs/export.md); docker build itself was not.
FROM python:3.11-slim-bookworm

# make runs the installation; libGL and GLib are what opencv-python loads.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /oadp
COPY . .

# The CPU builds of torch; for a GPU: docker build --build-arg TORCH_INDEX= .
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN make install TORCH_INDEX="$TORCH_INDEX" && rm -rf /root/.cache

ENV VIRTUAL_ENV=/oadp/.venv PATH=/oadp/.venv/bin:$PATH
CMD ["python", "-m", "oadp.doctor"]
