"""What is said while a server does not answer."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from urllib3 import Retry

from tracking import patience


def test_downloads_at_once_tell_of_an_outage_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def say_slowly(line: str) -> None:
        time.sleep(0.1)  # a busy machine: the others come meanwhile
        said.append(line)

    monkeypatch.setattr(logging.getLogger("tracking.patience"), "warning", say_slowly)
    monkeypatch.setenv(patience.TIMEOUT, "5")
    monkeypatch.setenv(patience.RETRIES, "2")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://anna:s3cr3t@loft")
    message, failures = "Retrying (%r) after connection broken by '%r': %s", [Retry(total=1)] * 8 + [Retry(total=0)] * 8
    [reporter] = [one for one in logging.getLogger(patience.REQUEST_LOGGER).filters if callable(one)]
    with ThreadPoolExecutor(8) as pool:
        records = [logging.LogRecord("", 30, "", 0, message, (retry, "refused", "/"), None) for retry in failures]
        assert not any(pool.map(reporter, records))
    waiting = "waiting for MLflow at http://***@loft, which does not answer; tries left:"
    assert said == [f"{waiting} 2, 10 seconds at most", f"{waiting} 1, 5 seconds at most"]
