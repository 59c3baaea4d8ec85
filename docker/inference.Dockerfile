# The inference container: one model behind GET /ping and POST /invocations (lambda_api/handlers/inference_server.py).
# SageMaker starts it as `docker run IMAGE serve`, as root, with the unpacked model in /opt/ml/model.
ARG PYTHON_IMAGE

FROM ${PYTHON_IMAGE} AS libraries
ARG PIP_ARGS=""
COPY pyproject.toml constraints.txt docker/requirements.py /build/
RUN python -m venv /opt/venv \
 && python /build/requirements.py /build/pyproject.toml serve > /build/requirements.txt \
 && /opt/venv/bin/pip install --no-cache-dir --only-binary=:all: \
      -r /build/requirements.txt -c /build/constraints.txt ${PIP_ARGS}

FROM ${PYTHON_IMAGE}
ARG GIT_REVISION=unknown
LABEL org.opencontainers.image.title="recsys-inference" org.opencontainers.image.revision="${GIT_REVISION}"
# Without the first label SageMaker refuses a model with several archives; the second lets SageMaker choose the port.
LABEL com.amazonaws.sagemaker.capabilities.multi-models=true
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/srv/recsys PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1
COPY --from=libraries /opt/venv /opt/venv
WORKDIR /srv/recsys
COPY lambda_api lambda_api
EXPOSE 8080
ENTRYPOINT ["python", "-m", "lambda_api.handlers.inference_server"]
CMD ["serve"]
