"""What `recsys up` and `recsys keys` do to a home and say, short of the graph (``test_end_to_end`` has that)."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lambda_api.settings import Settings, SettingsError, make_settings
from lambda_api.state import api_keys
from lambda_api.state.open_table import open_table
from recsys_assets.registry.model_registry import ModelRegistry
from recsys_deploy.child_processes import PortInUse, ServerFailed, ServerProcess, check_port_free
from recsys_deploy.up import NotReady, UpOptions, check_ports, curl_line, ensure_page_config, missing_publications
from tests.local_server.processes import ROOT, free_port
from tests.patience import wait_until
from tests.recsys_command import Done, right_here
from tests.registry.samples import candidate


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "home").mkdir()
    return make_settings({"home": tmp_path / "home"})


def recsys(settings: Settings, *arguments: str) -> Done:
    return right_here(*arguments, environment={"RECSYS_HOME": str(settings.home)}, folder=settings.home.parent)


def verify(settings: Settings, key: str, now: float | None = None) -> api_keys.StoredKey | None:
    return api_keys.ApiKeys(open_table(settings, "api_keys")).verify(key, time.time() if now is None else now)


def test_keys_are_made_listed_without_secrets_and_revoked(settings: Settings) -> None:
    shop = recsys(settings, "keys", "create", "the [red]page[/]").stdout.strip()
    operations = recsys(settings, "keys", "create", "monitor", "--scope", "operations", "--days", "3").stdout.strip()
    found = verify(settings, shop)
    assert found is not None and (found.name, found.scopes) == ("the [red]page[/]", frozenset({"shop"}))
    later = verify(settings, operations)
    assert later is not None and "operations" in later.scopes
    assert verify(settings, operations, time.time() + 4 * 86_400) is None
    listed = recsys(settings, "keys", "list").stdout
    for said in (shop.split("_")[1], operations.split("_")[1], "the [red]page[/]", "monitor", "never", "valid"):
        assert said in listed
    for key in (shop, operations):
        assert key.split("_", 2)[2] not in listed
    assert recsys(settings, "keys", "revoke", shop.split("_")[1]).returncode == 0
    assert verify(settings, shop) is None and verify(settings, operations) is not None
    assert "revoked" in recsys(settings, "keys", "list").stdout


@pytest.mark.parametrize(
    "arguments",
    [("revoke", "nobody"), ("revoke", "0" * 16), ("create", "x", "--scope", "all"), ("create", "x", "--days", "0")],
)
def test_wrong_words_about_keys_are_refused_in_a_sentence(settings: Settings, arguments: tuple[str, ...]) -> None:
    refused = recsys(settings, "keys", *arguments)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert arguments[-1] in refused.stderr or "greater than or equal to 1" in " ".join(refused.stderr.split())


def test_the_page_keeps_its_key_until_it_no_longer_opens(settings: Settings) -> None:
    file = settings.home / "storefront" / "config.json"
    first = ensure_page_config(settings)
    assert json.loads(file.read_text()) == {"api": "", "key": first, "shop": "Demo shop", "currency": "GBP"}
    assert file.stat().st_mode & 0o777 == 0o600
    identity = verify(settings, first)
    assert identity is not None and identity.scopes == {"shop"}
    assert ensure_page_config(settings) == first
    api_keys.revoke(open_table(settings, "api_keys"), first.split("_")[1])
    second = ensure_page_config(settings)
    assert second != first and verify(settings, second) is not None
    for damaged in ("", "[]", '{"key": 3}', '{"key": "rk_x"}', "\x00"):
        file.write_text(damaged)
        assert verify(settings, ensure_page_config(settings)) is not None
    operations_only = api_keys.create(open_table(settings, "api_keys"), "spent", {"shop"}, int(time.time()) + 60)
    file.write_text(json.dumps({"key": operations_only}))
    assert ensure_page_config(settings, time.time() + 120) != operations_only
    assert [left.name for left in file.parent.iterdir()] == ["config.json"]


def test_the_page_has_the_name_and_currency_of_the_settings(settings: Settings) -> None:
    file = settings.home / "storefront" / "config.json"
    key = ensure_page_config(settings)
    named = make_settings({"home": settings.home, "shop_name": "Mugs & Co", "currency": "EUR"})
    assert ensure_page_config(named) == key
    assert json.loads(file.read_text()) == {"api": "", "key": key, "shop": "Mugs & Co", "currency": "EUR"}
    with pytest.raises(SettingsError, match="RECSYS_CURRENCY"):
        make_settings({"home": settings.home, "currency": "pounds"})


def test_prices_of_data_that_name_no_currency_have_no_sign(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "interactions.csv").write_text(
        "interaction_id,user_id,product_id,interaction_type,timestamp\ni1,u1,p1,view,2011-01-03T10:00:00Z\n"
    )
    theirs = make_settings({"home": tmp_path / "home", "data": str(tmp_path / "shop")})
    ensure_page_config(theirs)
    assert json.loads((tmp_path / "home" / "storefront" / "config.json").read_text())["currency"] == ""


def test_an_empty_home_lacks_everything(settings: Settings) -> None:
    assert missing_publications(settings) == ["catalogue", "popular products", "shop page data"]


def test_a_taken_port_is_named_with_its_option() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"port {taken} .*--ui-port"):
            check_ports(UpOptions(free_port(), taken, 1))
        with pytest.raises(PortInUse, match=rf"port {taken} .*--port"):
            check_ports(UpOptions(taken, None, 1))
    with pytest.raises(NotReady, match="--port and --ui-port"):
        check_ports(UpOptions(taken, taken, 1))
    check_port_free(taken, "--port")


def test_the_line_to_paste_survives_a_shell() -> None:
    line = curl_line("http://127.0.0.1:1", "rk_a_b", 'it\'s $HOME "quoted" `x` é')
    words = shlex.split(line)
    assert words[0] == "curl" and "X-API-Key: rk_a_b" in words
    assert json.loads(words[-1])["user_id"] == 'it\'s $HOME "quoted" `x` é'


def test_a_server_that_ends_or_never_answers_says_so_with_its_log(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    ended = ServerProcess.start("the thing", ["-c", "print('last words'); raise SystemExit(3)"], tmp_path / "log", url)
    with pytest.raises(ServerFailed, match=r"(?s)the thing ended with code 3.*last words"):
        ended.wait_until_ready(30)
    mute = ServerProcess.start("the thing", ["-c", "import time; time.sleep(60)"], tmp_path / "log", url)
    try:
        with pytest.raises(ServerFailed, match="did not answer within"):
            mute.wait_until_ready(0.5)
    finally:
        mute.stop(30)
    assert mute.process.returncode == -signal.SIGTERM


def test_stopping_ends_the_whole_group(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, signal, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)'])\n"
        "print(child.pid, flush=True)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "time.sleep(120)\n"
    )
    stubborn = ServerProcess.start("the thing", ["-c", script], tmp_path / "log", "http://127.0.0.1:9/")
    said = wait_until(lambda: (tmp_path / "log").read_text().strip(), "the child was there")
    time.sleep(0.3)
    stubborn.stop(0.5)
    assert stubborn.process.returncode == -signal.SIGKILL
    gone = Path(f"/proc/{said}/status")
    wait_until(lambda: not gone.exists() or "\nState:\tZ" in gone.read_text(), "the grandchild ended")


def test_up_does_not_train_again_what_was_refused(settings: Settings) -> None:
    registry = ModelRegistry(open_table(settings, "registry"))
    refused = registry.register(candidate("no better than popularity"))
    registry.refuse(refused.version, ("It is no better than popularity.",))
    ports = [str(free_port()) for _ in range(2)]
    done = recsys(settings, "up", "--no-ui", "--port", ports[0], "--pages-port", ports[1])
    assert done.returncode == 2
    assert "no model was promoted: It is no better than popularity; `recsys run` trains again" in done.stderr
    assert f"`recsys release start {refused.version} --strategy immediate --even-if-refused`" in done.stderr
    assert [one.version for one in registry.list_versions()] == [refused.version]


def test_serve_runs_the_api_alone(settings: Settings) -> None:
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
    arguments = ["-m", "recsys_deploy.cli", "serve", "--port", str(port), "--workers", "1", "--no-static"]
    log = settings.home.parent / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, *arguments], env=kept | {"RECSYS_HOME": str(settings.home)}, cwd=ROOT, stdout=stream,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    server = ServerProcess("the API", log, f"http://127.0.0.1:{port}/health", process)
    try:
        server.wait_until_ready(60)
    finally:
        process.terminate()
        assert process.wait(30) == 0, log.read_text()
