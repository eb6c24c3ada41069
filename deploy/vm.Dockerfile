# In place of a remote machine: an SSH server, Python, and a user. What the target needs, and nothing of the provider's.
ARG BASE_IMAGE=debian:12-slim
FROM ${BASE_IMAGE}
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        ca-certificates openssh-server python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_* /etc/machine-id \
    && useradd --create-home --shell /bin/bash --password '*' scriptrun \
    && mkdir -p /run/sshd
COPY vm.sshd_config /etc/ssh/sshd_config
COPY vm /usr/local/bin/vm
EXPOSE 22
CMD ["vm"]
