# In place of the official image of Airflow: the same user and folders, Airflow from PyPI, on the base image of the tests.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG UV_INDEX_URL
ARG UV_DEFAULT_INDEX
ARG UV_INDEX
RUN useradd --uid 50000 --gid 0 --create-home airflow && install -d -o airflow -g root -m 775 /opt/airflow
USER airflow
ENV AIRFLOW_HOME=/opt/airflow PATH=/home/airflow/venv/bin:/usr/local/bin:/usr/bin:/bin
WORKDIR /opt/airflow
COPY requirements.txt /tmp/requirements.txt
RUN python3 -m venv /home/airflow/venv \
    && pip install --quiet --no-cache-dir uv \
    && uv pip install --quiet --no-cache --compile-bytecode --python /home/airflow/venv/bin/python \
        --requirement /tmp/requirements.txt
