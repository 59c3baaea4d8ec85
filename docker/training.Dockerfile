# The training container: a model of the zoo, fitted under the /opt/ml contract (recsys_assets/sagemaker/container.py).
# SageMaker starts it as `docker run IMAGE train`, as root, with the job in /opt/ml.
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
LABEL org.opencontainers.image.title="recsys-training" org.opencontainers.image.revision="${GIT_REVISION}"
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/srv/recsys PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=libraries /opt/venv /opt/venv
WORKDIR /srv/recsys
COPY lambda_api lambda_api
COPY recsys_assets recsys_assets
ENTRYPOINT ["python", "-m", "recsys_assets.sagemaker.container"]
CMD ["train"]
