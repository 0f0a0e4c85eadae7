"""One study of two people on a server with PostgreSQL and an S3 store, of which they know only the address."""

import glob
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest
from mlflow import MlflowClient
from PIL import Image

from pipelines.common.settings import ExplainSettings, PredictSettings, RebuildSettings, RerunSettings
from pipelines.explaining.explain import explain
from pipelines.home.rebuild import rebuild
from pipelines.predicting.predict import predict
from pipelines.rerunning import rerun
from pipelines.training.train import replace, train
from support.commands import at_once
from support.homes import TINY
from support.servers import free_port, kill, serve
from tracking import committing, runs
from tracking.catalogue import read_records
from tracking.errors import InputError
from tracking.files import write_json
from tracking.home import find_home
from tracking.reading import connect
from tracking.remote import fetch

PROGRAMS = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb")) or [shutil.which("initdb")]
MISSING = [name for name in ("moto", "boto3", "psycopg2", "flask_wtf") if not importlib.util.find_spec(name)]
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "not a secret", "AWS_DEFAULT_REGION": "us-east-1"}
PASSWORD = "a long password"
pytestmark = [
    pytest.mark.skipif(not PROGRAMS[-1], reason="needs PostgreSQL: apt-get install postgresql"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs the packages of the test extra: {', '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Address of a new PostgreSQL, which refuses to run as root."""
    port, folder = free_port(), Path(tempfile.mkdtemp(prefix="study-postgres"))
    programs = Path(PROGRAMS[-1] or "").parent
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [programs / "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-w"]

    def call(*command: object) -> None:
        subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, user=user, cwd=folder)

    call(programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "study")
    call(*control, "-o", options, "start")
    try:
        yield f"postgresql+psycopg2://study@127.0.0.1:{port}/postgres"
    finally:
        call(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """Address of an S3 store with the bucket `study`."""
    import boto3

    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while socket.socket().connect_ex(("127.0.0.1", port)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    names = {"aws_access_key_id": "key", "aws_secret_access_key": "not a secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", **names).create_bucket(Bucket="study")
    yield f"http://127.0.0.1:{port}"
    kill(process)


@pytest.fixture(scope="module")
def server(database: str, store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the server, which alone has the keys of the store and knows its users."""
    port, folder = free_port(), tmp_path_factory.mktemp("server")
    users = folder / "users.ini"
    users.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/users.db\nadmin_username = anna\n"
        f"admin_password = {PASSWORD}\nauthorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 60\n"  # else each request hashes the password for a fifth of a second
    )
    variables = KEYS | {
        "MLFLOW_S3_ENDPOINT_URL": store, "MLFLOW_AUTH_CONFIG_PATH": str(users), "MLFLOW_FLASK_SERVER_SECRET_KEY": "any",
    }  # fmt: skip
    process = serve(
        folder, port, "--app-name", "basic-auth", database=database, files="s3://study/files", variables=variables
    )
    yield f"http://127.0.0.1:{port}"
    kill(process)


def test_two_people_share_a_study(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    with pytest.raises(InputError, match=f"^MLflow at {server} .*not authenticated"):
        fetch(find_home(str(tmp_path / "nobody")))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "anna")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    anna, ben = find_home(str(tmp_path / "anna")), find_home(str(tmp_path / "ben"))
    run_id = train(replace(TINY, epochs=1, name="of-anna"), anna)
    [of_anna] = explain(ExplainSettings(run=run_id, method=("saliency",), count=2), anna)

    # ben's home is empty; a run that he names is fetched, with those that belong to it
    with pytest.raises(InputError, match=r"no run in .*ben yet; `study rebuild` fetches those of the server"):
        explain(ExplainSettings(), ben)
    [explained] = explain(ExplainSettings(run="of-anna", method=("saliency",), count=4), ben)
    assert {record.run_id for record in read_records(ben)} == {run_id, of_anna, explained}
    with pytest.raises(InputError, match=r"no run 'of-carl' in .*ben, nor on the server; the newest are"):
        explain(ExplainSettings(run="of-carl"), ben)
    rerun(RerunSettings(run=run_id, check=True), ben)  # raises if a number differs
    [record] = [one for one in read_records(ben) if one.run_id == run_id]
    note = write_json(tmp_path / "note.json", ["ben was here"])
    committing.commit(runs.open_run(ben, record), "note", {"notes/note.json": note}, {"said": 1.0}, None)

    # both add images to the same split at the same moment, each a picture of their own and one that both have
    pictures = [str(tmp_path / f"{number}.png") for number in range(3)]
    for number, picture in enumerate(pictures):
        Image.new("L", (8, 8), number).save(picture)
    both = Barrier(2)
    log_param = MlflowClient.log_param

    def log_together(client: MlflowClient, run: str, key: str, value: str) -> None:
        if key == "extra_new_0001":
            both.wait(100)
        log_param(client, run, key, value)

    monkeypatch.setattr(MlflowClient, "log_param", log_together)
    adding = [
        partial(predict, PredictSettings(images=(own, pictures[2]), run=run_id, name="new"), home)
        for own, home in zip(pictures, (anna, ben), strict=False)
    ]
    assert at_once(adding) == ["extra:new", "extra:new"]

    for home in (anna, ben):
        rebuild(RebuildSettings(), home)
    for table in ("runs", "full_predictions", "attributions", "maps", "metrics"):
        with connect(anna) as one, connect(ben) as other:
            rows = one.execute(f"select * from {table} order by all").fetchall()
            assert other.execute(f"select * from {table} order by all").fetchall() == rows != []
    with connect(anna) as connection:
        sql = "select count(*) from attributions where run_id = ?"
        assert connection.execute(sql, [explained]).fetchone() == (4,)
        assert connection.execute("select value from metrics where key = 'said'").fetchall() == [(1.0,)]
        sql = "select epoch, instance_id from predictions where split = 'extra:new' order by all"
        assert connection.execute(sql).fetchall() == [(epoch, instance) for epoch in (0, 1) for instance in (0, 1, 2)]
        sql = "select source from instances where split = 'extra:new' order by 1"
        assert connection.execute(sql).fetchall() == [(picture,) for picture in pictures]
