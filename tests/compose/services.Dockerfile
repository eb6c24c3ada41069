# In place of the official images of PostgreSQL and Redis: Debian's, on the base image of the tests.
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql redis-server \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o postgres -g postgres -m 700 /var/lib/postgresql/data /data \
    && for name in initdb postgres; do ln -s /usr/lib/postgresql/*/bin/$name /usr/local/bin/; done
COPY postgresql /usr/local/bin/postgresql
USER postgres
