# The Dagster container: a code location; with another command the web server, the daemon or a run (docker/README.md).
ARG PYTHON_IMAGE

FROM ${PYTHON_IMAGE} AS libraries
ARG PIP_ARGS=""
COPY pyproject.toml constraints.txt docker/requirements.py /build/
RUN python -m venv /opt/venv \
 && python /build/requirements.py /build/pyproject.toml pipeline aws > /build/requirements.txt \
 && /opt/venv/bin/pip install --no-cache-dir \
      -r /build/requirements.txt -c /build/constraints.txt ${PIP_ARGS}

FROM ${PYTHON_IMAGE}
# LightGBM links the system's OpenMP.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/*
ARG GIT_REVISION=unknown
LABEL org.opencontainers.image.title="recsys-dagster" org.opencontainers.image.revision="${GIT_REVISION}"
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/srv/recsys PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ENV DAGSTER_HOME=/opt/dagster RECSYS_HOME=/opt/recsys
COPY --from=libraries /opt/venv /opt/venv
RUN useradd --system --uid 10001 --no-create-home recsys \
 && mkdir -p /opt/dagster /opt/recsys \
 && chown recsys /opt/dagster /opt/recsys
WORKDIR /srv/recsys
COPY workspace.yaml workspace.yaml
COPY docker/dagster-aws /opt/dagster-aws
COPY lambda_api lambda_api
COPY recsys_assets recsys_assets
COPY recsys_deploy recsys_deploy
# What is mounted here on a read-only root file system keeps the rights of /tmp.
VOLUME /tmp
USER 10001
EXPOSE 3000 4000
ENTRYPOINT ["python", "-m"]
CMD ["dagster", "code-server", "start", "-h", "0.0.0.0", "-p", "4000", "-m", "recsys_assets.definitions"]
