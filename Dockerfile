# lit_retrieval for a CPU:
#   docker build -t lit_retrieval .
#   docker run --rm -v "$PWD:/work" -u "$(id -u):$(id -g)" lit_retrieval fit --config quickstart
# Runs are written to the current folder. An own module in that folder is found, too.
FROM python:3.11-slim AS build
WORKDIR /source
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps -w /wheels .

FROM python:3.11-slim
# Packages that come without a wheel need a compiler; the versions in constraints.txt all have one.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt /tmp/
COPY --from=build /wheels /tmp/wheels
RUN python -m pip install --no-cache-dir --only-binary :all: --extra-index-url "$TORCH_INDEX" -c /tmp/constraints.txt \
      /tmp/wheels/*.whl
# Kernels are compiled once, while the image is built, and each user may add to the cache.
ENV NUMBA_CACHE_DIR=/var/cache/lit_retrieval HOME=/tmp PYTHONPATH=/work
RUN mkdir "$NUMBA_CACHE_DIR" && cd /tmp \
      && lit-retrieval fit --config quickstart --trainer.max_steps 2 --trainer.val_check_interval 2 \
           --data.batch_size 2 --data.val_samples 2 --run_dir /tmp/warm \
      && rm -r /tmp/warm && chmod -R a+rwX "$NUMBA_CACHE_DIR"
WORKDIR /work
ENTRYPOINT ["lit-retrieval"]
CMD ["--help"]
