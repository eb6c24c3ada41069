"""Why an SSH connection could not be made, by the step that failed: name, port, host key, login."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import paramiko
from paramiko.common import OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
from paramiko.ssh_exception import NoValidConnectionsError

from airflow_provider.scriptrun.errors import (
    ConfigurationError,
    ScriptRunError,
    TargetRefusedError,
    TargetUnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


#: What paramiko says when the connection ends, or falls silent, before the server has said yes or no to a login.
_NO_ANSWER_TO_LOGIN = ("transport shut down", "saw EOF", "Authentication timeout")


class UnknownHostKeyError(paramiko.SSHException):
    """The server shows a key, and nothing says which one is to be expected."""

    def __init__(self, key: paramiko.PKey) -> None:
        super().__init__("unknown host key")
        self.key = key


class UnknownHostKey(paramiko.MissingHostKeyPolicy):
    """Refuse a server whose key is not known."""

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        """See paramiko."""
        raise UnknownHostKeyError(key)


@contextlib.contextmanager
def explained(connection_id: str, host: str, name: str, before: str | None = None) -> Iterator[None]:
    """Raise our errors for what paramiko and the operating system raise while a connection is made.

    :param host: for messages: ``user@host:port``.
    :param name: the host's name or address alone.
    :param before: the id of the jump host's connection, where it is reached through one.
    """
    try:
        yield
    except socket.gaierror as error:
        raise TargetUnreachableError(
            f"The host name {name!r} of the connection {connection_id} cannot be resolved",
            why=error.strerror,
            advice="Is it spelled right, and does this worker's DNS know it?",
        ) from None
    except UnknownHostKeyError as error:
        raise TargetRefusedError(
            f"The host key of {host} is not known, so nobody can say whether this is the right machine",
            why=f"it shows {_shown(error.key)}",
            advice="If that is its key (ask its administrator, or look at /etc/ssh/ssh_host_*_key.pub there), put "
            f"this line into the field host_key of the connection {connection_id}, or the host into a known_hosts "
            "file of the worker.",
        ) from None
    except paramiko.BadHostKeyException as error:
        raise TargetRefusedError(
            f"The host key of {host} is not the expected one: another machine answers, or its key was changed",
            why=f"it shows {_shown(error.key)}, and {error.expected_key.get_name()} "
            f"{error.expected_key.fingerprint} was expected",
            advice=f"If the machine was set up anew, correct host_key of the connection {connection_id}, or the "
            "worker's known_hosts. If not, somebody may be in between.",
        ) from None
    except paramiko.PasswordRequiredException:
        raise TargetRefusedError(
            f"The private key of the connection {connection_id} has a passphrase, and none is given",
            advice="Write it into the field private_key_passphrase.",
        ) from None
    except paramiko.BadAuthenticationType as error:
        raise _not_let_in(connection_id, host, f"it only accepts {', '.join(error.allowed_types)}") from None
    except paramiko.AuthenticationException as error:
        if any(words in str(error) for words in _NO_ANSWER_TO_LOGIN):
            raise _no_answer(host, str(error)) from None
        raise _not_let_in(connection_id, host, str(error)) from None
    except NoValidConnectionsError as error:
        raise _no_answer(host, "; ".join(map(str, error.errors.values()))) from None
    except paramiko.ChannelException as error:
        raise _not_forwarded(host, before, error) from None
    except paramiko.SSHException as error:
        raise _by_words(connection_id, host, error) from None
    except (OSError, EOFError) as error:
        raise _no_answer(host, getattr(error, "strerror", None) or str(error) or type(error).__name__) from None


def _by_words(connection_id: str, host: str, error: paramiko.SSHException) -> ScriptRunError:
    """Return our error for one that paramiko has no type of its own for."""
    text = str(error)
    if "No authentication methods" in text or "Incompatible" in text:
        return _not_let_in(connection_id, host, text)
    if "private key" in text:
        return unreadable_key(connection_id, text)
    return _no_answer(host, _no_greeting(error) or text)


def unreadable_key(connection_id: str, why: str) -> ConfigurationError:
    """Return the error about a private key that paramiko does not take."""
    return ConfigurationError(
        f"The connection {connection_id} cannot be used",
        why=why,
        advice="Is the key whole, with its first and last line? Has it a passphrase, and is that the right one?",
    )


def _no_greeting(error: paramiko.SSHException) -> str | None:
    """Say why a server did not get to its first line; ``None`` when it did."""
    if "banner" not in str(error):
        return None
    if isinstance(error.__context__, TimeoutError):
        return "it accepted the connection and then said nothing"
    return (
        "it ends the connection without speaking SSH: another kind of server, or more logins at once than MaxStartups"
    )


def _no_answer(host: str, why: str) -> TargetUnreachableError:
    return TargetUnreachableError(
        f"No SSH connection to {host} can be made",
        why=why,
        advice="Are address and port right, is the machine up, does its SSH server run, is no firewall between?",
    )


def _not_forwarded(host: str, before: str | None, error: paramiko.ChannelException) -> TargetUnreachableError:
    if error.code == OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED:
        advice = "Its sshd_config must allow it: AllowTcpForwarding, PermitOpen, DisableForwarding."
    else:
        advice = "Are address and port right as that machine sees them, and is no firewall between the two?"
    return TargetUnreachableError(
        f"No SSH connection to {host} can be made through {before}",
        why=f"the jump host answered: {error.text}",
        advice=advice,
    )


def _not_let_in(connection_id: str, host: str, why: str) -> TargetRefusedError:
    return TargetRefusedError(
        f"{host} does not let us in",
        why=why,
        advice=f"Check login, password or private_key of the connection {connection_id}, and that the user's "
        "~/.ssh/authorized_keys there has the public key (sshd logs why it refuses).",
    )


def _shown(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.get_base64()} ({key.fingerprint})"
