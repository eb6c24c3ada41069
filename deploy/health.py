"""The health check of Airflow's services: health.py URL [PART]. Standard library only, so that it costs little."""

import json
import sys
import urllib.request


def main(url: str, *parts: str) -> None:
    """End with an error unless the server answers, and says of these parts of Airflow that they are healthy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=20) as answer:
        found = json.load(answer) if parts else {}  # the scheduler's says nothing but a status code
    for part in parts:
        if found[part]["status"] != "healthy":
            sys.exit(f"{part}: {found[part]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
