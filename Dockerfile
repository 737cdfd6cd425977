# The gateway with its learner, for a provider's model:    docker build .
# The same with the embedded model and training:           docker build --build-arg EXTRAS=local,train .
#
# One container holds both processes: the gateway starts the learner as its child, they meet in one store on a local
# disk, and a learner that dies is started again without a request noticing. See docs/containers.md.
FROM python:3.11-slim AS build
ARG EXTRAS=""
# The address of PyTorch's index of builds for processors; without it the usual build comes, which is several GB larger.
ARG TORCH_INDEX=""
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY scripts/container_install.sh scripts/
COPY src src
RUN TORCH_INDEX="$TORCH_INDEX" scripts/container_install.sh /opt/metaclaw "$EXTRAS"

FROM python:3.11-slim
LABEL org.opencontainers.image.title="MetaClaw" org.opencontainers.image.licenses="MIT"
RUN useradd --uid 10001 --create-home --home-dir /home/metaclaw metaclaw \
    && install --directory --owner=metaclaw --group=metaclaw --mode=0700 /data
COPY --from=build /opt/metaclaw /opt/metaclaw
ENV PATH=/opt/metaclaw/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/data/models/hub \
    METACLAW_DATA_DIR=/data \
    METACLAW_GATEWAY__HOST=0.0.0.0 \
    METACLAW_GATEWAY__PORT=8790 \
    METACLAW_DASHBOARD__HOST=0.0.0.0 \
    METACLAW_DASHBOARD__PORT=8792 \
    METACLAW_SCHEDULE__WATCH_INPUT=false \
    METACLAW_LOG__FORMAT=json
USER 10001:10001
WORKDIR /home/metaclaw
VOLUME /data
EXPOSE 8790 8792
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=15m --retries=3 \
    CMD ["python", "-c", "import json, urllib.request as web; assert json.load(web.urlopen('http://127.0.0.1:8790/healthz', timeout=4))['status'] == 'ok'"]
ENTRYPOINT ["metaclaw"]
CMD ["start"]
