# One image for every server; compose says which one a container runs.
FROM python:3.11-slim AS build
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY common common
COPY services services
COPY generated generated
# Editable: the servers read the proxy's templates and the compiled contract beside their code.
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir -e .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --create-home malla && install -d -o malla /etc/malla /home/malla/.cache
COPY --from=build /venv /venv
COPY --from=build /app /app
COPY envoy /app/envoy
WORKDIR /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER malla
