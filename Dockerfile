# One image for every machine of a cluster: docker build -t interp . (docs/cluster.md)
FROM python:3.11-slim

RUN pip install --no-cache-dir --upgrade pip && useradd --create-home interp
WORKDIR /opt/interp
COPY . .
# the constraints are the versions that the tests ran with
RUN pip install --no-cache-dir -c constraints.txt '.[ray,gguf,semantic,postgres]'

USER interp
WORKDIR /home/interp
ENV RAY_USAGE_STATS_ENABLED=0
CMD ["interp", "configs"]
