"""TLS with an engine: the context that a connection's files make, and what went wrong, by the fields of the connection.

With TLS 1.3 an engine says no to a client's certificate only after the handshake: to whoever reads first.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from airflow_provider.scriptrun.errors import ConfigurationError, TargetRefusedError, TargetUnreachableError

if TYPE_CHECKING:
    from airflow_provider.scriptrun.targets.docker.settings import Tls

#: What OpenSSL calls a certificate that is for another name, or for another address.
_OTHER_NAME = (62, 64)
#: X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
_OUT_OF_TIME = (9, 10)
#: No library wraps deeper.
_DEPTH = 10


def context(tls: Tls) -> ssl.SSLContext:
    """Return what connections are made with. Raises :class:`ConfigurationError` for files that cannot be used."""
    try:
        made = ssl.create_default_context(cafile=tls.ca_file)
        if not tls.verify:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        if tls.cert_file:
            made.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        names = {"tls_ca_file": tls.ca_file, "tls_cert_file": tls.cert_file, "tls_key_file": tls.key_file}
        paths = ", ".join(f"{name} {path}" for name, path in names.items() if path)
        raise ConfigurationError(
            f"The TLS files of the connection cannot be used: {paths}",
            why=str(error),
            advice="They are PEM files on the worker: an authority, a certificate and its key.",
        ) from None
    return made


def cause(error: BaseException | None) -> ssl.SSLError | None:
    """Return the error of TLS that a library has wrapped, if one is behind this error."""
    for _ in range(_DEPTH):
        if error is None or isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def is_alert(error: ssl.SSLError) -> bool:
    """Whether the other side said in the words of TLS what it does not like."""
    return "ALERT" in (error.reason or "")


def trouble(error: ssl.SSLError, name: str, tls: Tls) -> TargetRefusedError | TargetUnreachableError:
    """Return the error that says what is wrong, and which field of the connection to look at.

    :param name: of the engine, for messages.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(error, name, tls)
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return TargetUnreachableError(
            f"The connection to {name} ended in the middle of TLS",
            why=error.reason,
            advice="Is the engine about to start or to stop, or does something on the way close connections?",
        )
    if is_alert(error):
        return _not_let_in(error, name, tls)
    return TargetRefusedError(
        f"{_capital(name)} does not speak TLS on this port",
        why=error.reason or str(error),
        advice="Name the engine's port with TLS in host or port, often 2376. Where it has none, leave tls_ca_file, "
        "tls_cert_file, tls_key_file, tls_verify and tls_hostname empty: everybody on the way can then use the engine.",
    )


def _untrusted(error: ssl.SSLCertVerificationError, name: str, tls: Tls) -> TargetRefusedError:
    if error.verify_code in _OTHER_NAME:
        what, advice = "is for another name", "Name in tls_hostname one that it is for, or have one made for this host."
    elif error.verify_code in _OUT_OF_TIME:
        what, advice = "is out of date", "Renew it on the engine's machine; are the clocks of both machines right?"
    else:
        by = f"the authority in tls_ca_file, {tls.ca_file}" if tls.ca_file else "an authority that this system trusts"
        what = f"is not signed by {by}"
        advice = "Name in tls_ca_file the authority that signed it: the ca.pem that dockerd's --tlscacert belongs to."
    return TargetRefusedError(f"The certificate of {name} {what}", why=error.verify_message, advice=advice)


def _not_let_in(error: ssl.SSLError, name: str, tls: Tls) -> TargetRefusedError:
    if tls.cert_file is None:
        what = f"{_capital(name)} lets nobody in without a certificate"
        advice = "Name yours in tls_cert_file and tls_key_file."
    else:
        what = f"{_capital(name)} does not accept the certificate in tls_cert_file, {tls.cert_file}"
        advice = "Is it signed by the authority that dockerd's --tlscacert names, for clients, and not out of date?"
    return TargetRefusedError(what, why=error.reason, advice=advice)


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]
