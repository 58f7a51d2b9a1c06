# The gateway as a container: Container Apps, Functions Premium, Kubernetes. Flex Consumption takes the zip instead.
#
# The base image holds the Functions host and Python 3.13. Its tag moves, so that the digest says which one is meant;
# Dependabot proposes the next one, and so does: docker buildx imagetools inspect <image>:<tag>
FROM mcr.microsoft.com/azure-functions/python:4-python3.13@sha256:f2486500c134e0b406825b3227a91b2097175d4c6a7008575772514567c9bbd5 AS base

FROM base AS builder
WORKDIR /home/site/wwwroot
COPY requirements-lock.txt /tmp/
RUN python -m pip install --no-cache-dir --no-compile --require-hashes --only-binary :all: --root-user-action ignore \
    --target .python_packages/lib/site-packages --requirement /tmp/requirements-lock.txt
COPY function_app.py host.json ./
COPY lib lib
COPY web web
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash .

FROM base
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="Fabric Data Agent Gateway" \
      org.opencontainers.image.description="A serverless gateway between people and Microsoft Fabric data agents" \
      org.opencontainers.image.revision="${COMMIT}"
# The port is one that needs no root; nothing writes logs or looks for changes in files; keys of functions, which
# nobody has a use for since all of them are anonymous, stay in files, so that no role on a blob container is needed.
# hadolint ignore=DL3064 # AzureWebJobsSecretStorageType says where secrets are, and holds none
ENV ASPNETCORE_URLS=http://+:8080 \
    AzureFunctionsJobHost__FileWatchingEnabled=false \
    AzureFunctionsJobHost__Logging__FileLoggingMode=Never \
    AzureFunctionsJobHost__Logging__Console__IsEnabled=true \
    AzureWebJobsSecretStorageType=files \
    PYTHONDONTWRITEBYTECODE=1
# The host keeps a sentinel in its Secrets folder and its data below /home; the app itself belongs to root.
RUN mkdir -p /azure-functions-host/Secrets /home/data /home/LogFiles \
    && chown -R 10001:10001 /azure-functions-host/Secrets /home
COPY --from=builder /home/site/wwwroot /home/site/wwwroot
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["curl", "--fail", "--silent", "--output", "/dev/null", "--max-time", "4", "http://127.0.0.1:8080/api/health"]
