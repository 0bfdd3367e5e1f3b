"""Settings: who wins, what is refused, and that nobody has to guess why."""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from ketchup.config import Kind, Loaded, Origin, Settings, SettingsError, load
from ketchup.config.sources import shown
from ketchup.openings import Opening

KEY = "0123456789abcdef" * 4
TOKEN = "t" * 40


def with_file(folder: Path, text: str) -> Path:
    (folder / "ketchup.toml").write_text(text, encoding="utf-8")
    return folder


def faults(folder: Path, environ: dict[str, str] | None = None, **flags: object) -> list[str]:
    """Load, and return the faults with the folder's name taken out."""
    with pytest.raises(SettingsError) as caught:
        load(environ or {}, flags=flags, folder=folder)
    assert str(caught.value).split("\n") == list(caught.value.lines)
    return [line.replace(f"{folder}{os.sep}", "") for line in caught.value.lines]


def test_without_any_source_the_defaults_hold(tmp_path: Path) -> None:
    loaded = load({}, folder=tmp_path)
    assert loaded.settings == Settings()
    assert loaded.origins == {}
    assert loaded.origin("port") == Origin(Kind.DEFAULT, "")


def test_the_defaults_are_the_published_ones() -> None:
    settings = Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.data == Path("ketchup-data")
    assert settings.limits.max_body_bytes == 40 * 1024 * 1024
    assert settings.webhooks.schedule == (
        *(0, 5, 300, 1800, 7200),
        *(18_000, 36_000, 50_400, 72_000, 86_400),
    )
    assert settings.start.credits == 100_000_000
    assert settings.secret_key is None
    assert settings.admin_token is None


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default(tmp_path: Path) -> None:
    with_file(tmp_path, "port = 1001\nhost = 'file.test'\n[log]\nlevel = 'error'\n")
    environ = {"KETCHUP_PORT": "1002", "KETCHUP_HOST": "variable.test"}
    loaded = load(environ, flags={"port": 1003, "host": None}, folder=tmp_path)
    assert loaded.settings.port == 1003
    assert loaded.settings.host == "variable.test"
    assert loaded.settings.log.level == "error"
    assert loaded.settings.log.format == "auto"
    assert loaded.origin("port") == Origin(Kind.FLAG, "--port")
    assert loaded.origin("host") == Origin(Kind.ENVIRONMENT, "KETCHUP_HOST")
    assert loaded.origin("log.level") == Origin(Kind.FILE, str(tmp_path / "ketchup.toml"))
    assert loaded.origin("log.format") == Origin(Kind.DEFAULT, "")


def test_a_group_is_merged_value_by_value(tmp_path: Path) -> None:
    with_file(tmp_path, "[limits]\nmax_body_bytes = 4096\npoll_burst = 8\n")
    limits = load({"KETCHUP_LIMITS_POLL_BURST": "9"}, folder=tmp_path).settings.limits
    assert (limits.max_body_bytes, limits.poll_burst, limits.queue_capacity) == (4096, 9, 10_000)


def test_the_file_is_the_flags_then_the_variables_then_the_one_in_the_folder(
    tmp_path: Path,
) -> None:
    with_file(tmp_path, "port = 1")
    by_variable, by_flag = tmp_path / "variable.toml", tmp_path / "flag.toml"
    by_variable.write_text("port = 2")
    by_flag.write_text("port = 3")
    environ = {"KETCHUP_CONFIG": str(by_variable)}
    assert load({}, folder=tmp_path).settings.port == 1
    assert load(environ, folder=tmp_path).settings.port == 2
    assert load(environ, config=by_flag, folder=tmp_path).settings.port == 3


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    for environ, config in (({"KETCHUP_CONFIG": str(missing)}, None), ({}, missing)):
        with pytest.raises(SettingsError) as caught:
            load(environ, config=config, folder=tmp_path)
        assert str(caught.value) == f"{missing}: cannot be read: no such file or directory"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"port 8000", "line 1"),
        (b"port = 1\nport = 2\n", "Cannot overwrite"),
        (b"title = '\xff'", "it is not UTF-8 text"),
        (b"#" * (1024 * 1024 + 1), "larger than a mebibyte"),
    ],
)
def test_a_file_that_is_not_toml_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "ketchup.toml").write_bytes(content)
    [fault] = faults(tmp_path)
    assert fault.startswith("ketchup.toml: cannot be read: ")
    assert reason in fault


# Names ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("prot = 1", "ketchup.toml: prot: unknown setting; did you mean port?"),
        (
            "[limits]\nqueue_capasity = 1",
            "ketchup.toml: limits.queue_capasity: unknown setting; did you mean queue_capacity?",
        ),
        ("[limit]\npoll_burst = 5", "ketchup.toml: limit: unknown setting; did you mean limits?"),
        (
            '[models."google/gempix2"]\nprize = 1',
            'ketchup.toml: models."google/gempix2".prize: unknown setting; did you mean price?',
        ),
        (
            "[egress]\nzzz = 1",
            (
                "ketchup.toml: egress.zzz: unknown setting; expected allow, failures_last_seconds, "
                "per_destination, per_second, per_workspace, ports, wait_seconds"
            ),
        ),
        (
            "[limits.poll_burst]\nzzz = 1",
            'ketchup.toml: limits.poll_burst: {"zzz": 1} is not accepted; expected a whole number, 5 or more',
        ),
    ],
)
def test_an_unknown_name_in_the_file_is_an_error_at_any_depth(
    tmp_path: Path, text: str, fault: str
) -> None:
    assert faults(with_file(tmp_path, text)) == [fault]


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("KETCHUP_PROT", "; did you mean KETCHUP_PORT?"),
        ("KETCHUP_QUEUE_CAPACITY", "; did you mean KETCHUP_LIMITS_QUEUE_CAPACITY?"),
        ("KETCHUP_LIMITS__POLL_BURST", "; did you mean KETCHUP_LIMITS_POLL_BURST?"),
        ("KETCHUP_PORT_FILE", "; did you mean KETCHUP_PORT?"),
        ("KETCHUP_MODELS_GEMPIX2_PRICE", "; models are set in ketchup.toml"),
        ("KETCHUP_PLANS_FREE_DEPTH", "; plans are set in ketchup.toml"),
        ("KETCHUP_", ""),
        ("KETCHUP_XYZZY_PLUGH", ""),
    ],
)
def test_an_unknown_variable_is_an_error(tmp_path: Path, name: str, rest: str) -> None:
    assert faults(tmp_path, {name: "1"}) == [f"environment: {name}: unknown setting{rest}"]


def test_variables_of_others_and_of_tests_are_left_alone(tmp_path: Path) -> None:
    environ = {
        "PATH": "/bin",
        "ketchup_port": "1",
        "MY_KETCHUP_PORT": "1",
        "KETCHUP_TEST_ANYTHING": "1",
        "KETCHUP_URL": "http://127.0.0.1:9",
        "KETCHUP_CONFIG": "",
        "KETCHUP_PORT": "",
        "KETCHUP_UNKNOWN_BUT_EMPTY": "",
    }
    assert load(environ, folder=tmp_path).settings == Settings()


# Values ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KETCHUP_PORT", "abc"),
        ("KETCHUP_PORT", "-1"),
        ("KETCHUP_PORT", "65536"),
        ("KETCHUP_PORT", "80.5"),
        ("KETCHUP_PORT", "tcp://10.0.0.1:80"),
        ("KETCHUP_CONCURRENCY", "-1"),
        ("KETCHUP_PUBLIC_URL", "images.example.com"),
        ("KETCHUP_PUBLIC_URL", "ftp://images.example.com"),
        ("KETCHUP_PUBLIC_URL", "https://"),
        ("KETCHUP_PUBLIC_URL", "https://user@images.example.com"),
        ("KETCHUP_PUBLIC_URL", "https://images.example.com/?a=1"),
        ("KETCHUP_PUBLIC_URL", "https://images.example.com:99999"),
        ("KETCHUP_LIMITS_MAX_BODY_BYTES", "0"),
        ("KETCHUP_LIMITS_POLLS_PER_SECOND", "0.5"),
        ("KETCHUP_LIMITS_POLLS_PER_SECOND", "inf"),
        ("KETCHUP_LIMITS_POLL_BURST", "4"),
        ("KETCHUP_LIMITS_QUEUE_CAPACITY", "0"),
        ("KETCHUP_WORKER_LEASE_SECONDS", "0"),
        ("KETCHUP_WORKER_LEASE_SECONDS", "nan"),
        ("KETCHUP_WORKER_MAX_TRIES", "0"),
        ("KETCHUP_WEBHOOKS_SCHEDULE", "0,soon"),
        ("KETCHUP_WEBHOOKS_SCHEDULE", "0,-1"),
        ("KETCHUP_WEBHOOKS_SCHEDULE", ","),
        ("KETCHUP_EGRESS_ALLOW", "10.0.0.1/8"),
        ("KETCHUP_EGRESS_ALLOW", "10.0.0.0/33"),
        ("KETCHUP_EGRESS_ALLOW", "localhost"),
        ("KETCHUP_EGRESS_ALLOW", "10.0.0.0/8:0"),
        ("KETCHUP_EGRESS_ALLOW", "10.0.0.0/8:65536"),
        ("KETCHUP_EGRESS_ALLOW", "10.0.0.0/8:9-8"),
        ("KETCHUP_EGRESS_ALLOW", "10.0.0.0/8:*"),
        ("KETCHUP_EGRESS_ALLOW", "10.0.0.0:8080"),
        ("KETCHUP_EGRESS_ALLOW", "10.0.0.0/8;127.0.0.0/8"),
        ("KETCHUP_DEFAULT_PLAN", "a plan"),
        ("KETCHUP_START_PLAN", "plan!"),
        ("KETCHUP_CONTRACT_INSUFFICIENT_CREDITS_STATUS", "403"),
        ("KETCHUP_LOG_LEVEL", "loud"),
        ("KETCHUP_LOG_FORMAT", "xml"),
        ("KETCHUP_START_CREDITS", "-1"),
        ("KETCHUP_START_CREDITS", "1e3"),
        ("KETCHUP_START_CREDITS", "0.1234567"),
    ],
)
def test_a_value_that_cannot_be_is_one_line_with_its_source_and_what_is_accepted(
    tmp_path: Path, name: str, value: str
) -> None:
    [fault] = faults(tmp_path, {name: value})
    assert fault.startswith(f'environment: {name}: "{value}" is not accepted; expected ')
    assert not fault.endswith("expected ")


@pytest.mark.parametrize("text", ["port = true", "port = [1]", "port = {a = 1}", "port = 1.5"])
def test_the_file_may_not_hold_other_types(tmp_path: Path, text: str) -> None:
    [fault] = faults(with_file(tmp_path, text))
    assert fault.startswith("ketchup.toml: port: ")
    assert fault.endswith("is not accepted; expected a port, 0 to 65535; 0 takes a free one")


@pytest.mark.parametrize(
    "text", ["limits = 5", "models = 5", "models = ['a/b']", "plans = 5", "plans.free = 1"]
)
def test_a_value_in_place_of_a_table_is_one_line(tmp_path: Path, text: str) -> None:
    [fault] = faults(with_file(tmp_path, text))
    assert "expected" in fault
    assert "table" in fault


def test_a_flag_is_named_in_its_own_fault(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, public_url="nowhere")
    assert fault.startswith('command line: --public-url: "nowhere" is not accepted; expected an ')


def test_all_faults_are_told_at_once_and_only_of_what_would_have_counted(tmp_path: Path) -> None:
    with_file(tmp_path, "prot = 1\nport = 'x'\nhost = ''\n")
    lines = faults(tmp_path, {"KETCHUP_HOTS": "1", "KETCHUP_PORT": "8001"})
    assert lines == [
        "ketchup.toml: prot: unknown setting; did you mean port?",
        "environment: KETCHUP_HOTS: unknown setting; did you mean KETCHUP_HOST?",
        'ketchup.toml: host: "" is not accepted; expected an address or host name to listen on',
    ]


def test_a_fault_is_one_line_whatever_the_value(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, {"KETCHUP_PORT": "1\n2\x1b[31m" + "x" * 1000})
    assert "\n" not in fault
    assert "\x1b" not in fault
    assert len(fault) < 250


def test_lists_are_separated_by_commas_in_variables(tmp_path: Path) -> None:
    environ = {
        "KETCHUP_EGRESS_ALLOW": " 127.0.0.0/8, ::1/128:80,10.1.2.3/32:8000-8999,",
        "KETCHUP_WEBHOOKS_SCHEDULE": "0,0.5,10",
    }
    settings = load(environ, folder=tmp_path).settings
    assert settings.egress.allow == (
        Opening(ip_network("127.0.0.0/8")),
        Opening(ip_network("::1/128"), (80, 80)),
        Opening(ip_network("10.1.2.3/32"), (8000, 8999)),
    )
    assert settings.webhooks.schedule == (0.0, 0.5, 10.0)


def test_values_of_the_file_keep_their_meaning(tmp_path: Path) -> None:
    with_file(
        tmp_path,
        """
        concurrency = 0
        public_url = "https://images.example.com/base/"
        [worker]
        lease_seconds = 2.5
        [contract]
        insufficient_credits_status = 400
        [log]
        level = "DEBUG"
        [start]
        credits = 0.1
        """,
    )
    settings = load({}, folder=tmp_path).settings
    assert settings.concurrency == 0
    assert settings.base_url() == "https://images.example.com/base"
    assert settings.worker.lease_seconds == 2.5
    assert settings.contract.insufficient_credits_status == 400
    assert settings.log.level == "debug"
    assert settings.start.credits == 100_000, "a tenth, exactly"


def test_a_data_folder_may_begin_at_home(tmp_path: Path) -> None:
    assert load({"KETCHUP_DATA": "~/x"}, folder=tmp_path).settings.data == Path.home() / "x"


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]  # that is the point
    with pytest.raises(ValidationError, match="frozen"):
        settings.limits.poll_burst = 9  # type: ignore[misc]  # that is the point


def test_a_settings_object_never_looks_at_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KETCHUP_PORT", "1")
    assert Settings().port == 8000


@pytest.mark.parametrize(
    ("host", "port", "bound", "address"),
    [
        ("127.0.0.1", 8000, None, "http://127.0.0.1:8000"),
        ("0.0.0.0", 8000, None, "http://127.0.0.1:8000"),
        ("::", 8000, None, "http://[::1]:8000"),
        ("::1", 0, 4321, "http://[::1]:4321"),
        ("images.local", 80, None, "http://images.local:80"),
    ],
)
def test_the_address_is_made_from_host_and_port(
    host: str, port: int, bound: int | None, address: str
) -> None:
    settings = Settings(host=host, port=port)
    assert settings.base_url(bound) == settings.local_url(bound) == address


# The catalogue ─────────────────────────────────────────────────────────────────────────────────


def test_one_field_of_a_default_model_can_be_changed_alone(tmp_path: Path) -> None:
    with_file(tmp_path, '[models."google/gempix2"]\nprice = 0.75\n')
    loaded = load({}, folder=tmp_path)
    changed, default = loaded.settings.models["google/gempix2"], Settings().models["google/gempix2"]
    assert changed.price == 750_000
    assert changed.model_copy(update={"price": default.price}) == default
    assert list(loaded.settings.models) == ["google/gempix2", "google/gemini-2.5-flash-image"]
    assert loaded.origin('models."google/gempix2".price').kind is Kind.FILE
    assert loaded.origin('models."google/gempix2".title').kind is Kind.DEFAULT


def test_a_new_model_needs_a_title_and_a_price(tmp_path: Path) -> None:
    with_file(tmp_path, '[models."acme/one"]\ntitle = "One"\nprice = "1"\n')
    one = load({}, folder=tmp_path).settings.models["acme/one"]
    assert (one.title, one.price, one.max_n, one.provider) == ("One", 1_000_000, 8, "auto")


@pytest.mark.parametrize("text", ['[models."acme/one"]\ntitle = "One"\n', '[models."acme/one"]\n'])
def test_a_model_without_a_price_does_not_start(tmp_path: Path, text: str) -> None:
    assert (
        'ketchup.toml: models."acme/one".price: missing; '
        'expected a decimal of at most 6 places, 0 or more, such as "0.5"'
    ) in faults(with_file(tmp_path, text))


@pytest.mark.parametrize(
    "price", ["-0.5", "'-1'", "0.0000001", "'free'", "true", "inf", "''", "1_000_000_000_000"]
)
def test_a_price_is_a_decimal_that_is_not_negative(tmp_path: Path, price: str) -> None:
    [fault] = faults(with_file(tmp_path, f'[models."google/gempix2"]\nprice = {price}\n'))
    assert fault.startswith('ketchup.toml: models."google/gempix2".price: ')
    assert "expected a decimal of at most 6 places, 0 or more" in fault


def test_a_model_may_be_free(tmp_path: Path) -> None:
    with_file(tmp_path, '[models."google/gempix2"]\nprice = 0\n')
    assert load({}, folder=tmp_path).settings.models["google/gempix2"].price == 0


@pytest.mark.parametrize(
    "alias", ["google/nano-banana", "google/gempix2", "acme/one", "google/gemini-2.5-flash-image"]
)
def test_no_name_means_two_models(tmp_path: Path, alias: str) -> None:
    with_file(tmp_path, f'[models."acme/one"]\ntitle = "One"\nprice = 1\naliases = ["{alias}"]\n')
    [fault] = faults(tmp_path)
    assert fault.startswith(f"ketchup.toml: models: {alias} is an alias of acme/one, but already ")


@pytest.mark.parametrize(
    "line",
    [
        "max_reference_images = -1",
        "max_reference_images = 15",
        'aspect_ratios = ["7:3"]',
        "aspect_ratios = []",
        'image_sizes = ["8K"]',
        "max_n = 9",
        'result = "file"',
        'aliases = ["with space"]',
        'title = ""',
    ],
)
def test_a_model_stays_within_the_contract(tmp_path: Path, line: str) -> None:
    [fault] = faults(with_file(tmp_path, f'[models."google/gempix2"]\n{line}\n'))
    assert fault.startswith(f'ketchup.toml: models."google/gempix2".{line.partition(" ")[0]}: ')
    assert " is not accepted; expected " in fault


def test_a_model_id_holds_no_blanks(tmp_path: Path) -> None:
    assert faults(with_file(tmp_path, '[models."a b"]\ntitle = "A"\nprice = 1\n')) == [
        'ketchup.toml: models."a b": a model id has 1 to 128 letters, digits and . _ : / -'
    ]


def test_a_rule_of_the_catalogue_names_the_file_whatever_else_is_set(tmp_path: Path) -> None:
    twice = '[models."acme/one"]\ntitle = "One"\nprice = 1\naliases = ["google/gempix2"]\n'
    with_file(tmp_path, f"port = 1\n{twice}")
    [fault] = faults(tmp_path, {"KETCHUP_PORT": "2"})
    assert fault.startswith("ketchup.toml: models: google/gempix2 is an alias of acme/one, but ")


def test_one_field_of_a_default_plan_can_be_changed_alone(tmp_path: Path) -> None:
    with_file(tmp_path, "[plans.free]\ndepth = 5\n")
    loaded = load({}, folder=tmp_path)
    changed, default = loaded.settings.plans["free"], Settings().plans["free"]
    assert changed.depth == 5
    assert changed.model_copy(update={"depth": default.depth}) == default
    assert list(loaded.settings.plans) == ["free", "pro", "scale"]
    assert loaded.origin("plans.free.depth").kind is Kind.FILE
    assert loaded.origin("plans.free.title").kind is Kind.DEFAULT


def test_a_new_plan_needs_a_title_and_has_no_limits(tmp_path: Path) -> None:
    text = 'default_plan = "gold"\n[start]\nplan = "gold"\n[plans.gold]\ntitle = "Gold"\n'
    settings = load({}, folder=with_file(tmp_path, text)).settings
    assert (settings.default_plan, settings.start.plan) == ("gold", "gold")
    gold = settings.plans["gold"]
    assert (gold.submits_per_minute, gold.concurrency, gold.depth, gold.weight) == (0, 0, 0, 1)
    assert faults(with_file(tmp_path, "[plans.gold]\n")) == [
        "ketchup.toml: plans.gold.title: missing; expected 1 to 200 characters"
    ]


def test_a_plan_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    with_file(tmp_path, 'default_plan = "gold"\n[plans.team]\ntitle = "Team"\n')
    assert faults(tmp_path, {"KETCHUP_START_PLAN": "silver"}) == [
        "ketchup.toml: default_plan: gold is unknown; there is free, pro, scale, team",
        "environment: KETCHUP_START_PLAN: silver is unknown; there is free, pro, scale, team",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "submits_per_minute = -1",
        "submit_burst = 0",
        "concurrency = 1_000_000_001",
        "depth = true",
        "weight = 0",
        "weight = 1001",
        "retention_days = 0",
        "price = -1",
        "title = ''",
    ],
)
def test_a_plan_has_its_limits_too(tmp_path: Path, line: str) -> None:
    [fault] = faults(with_file(tmp_path, f"[plans.free]\n{line}\n"))
    assert fault.startswith(f"ketchup.toml: plans.free.{line.partition(' ')[0]}: ")


@pytest.mark.parametrize("name", ["", "a b", "-a", "a.b", "ü", "x" * 41])
def test_a_plan_has_a_name_that_can_stand_in_an_address(tmp_path: Path, name: str) -> None:
    [fault] = faults(with_file(tmp_path, f'[plans."{name}"]\ntitle = "A"\n'))
    assert fault.endswith(": a plan's name has 1 to 40 letters, digits and _ -")


# Secrets ───────────────────────────────────────────────────────────────────────────────────────


def secret_of(loaded: Loaded, name: str) -> str:
    value = getattr(loaded.settings, name)
    return str(value.get_secret_value())


def test_secrets_come_from_variables_or_from_the_files_they_name(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    environ = {"KETCHUP_SECRET_KEY": KEY, "KETCHUP_ADMIN_TOKEN_FILE": str(tmp_path / "token")}
    loaded = load(environ, folder=tmp_path)
    assert secret_of(loaded, "secret_key") == KEY
    assert secret_of(loaded, "admin_token") == TOKEN
    assert loaded.origin("admin_token") == Origin(Kind.ENVIRONMENT, "KETCHUP_ADMIN_TOKEN_FILE")


def test_a_secret_and_its_file_at_once_are_an_error(tmp_path: Path) -> None:
    environ = {"KETCHUP_ADMIN_TOKEN": TOKEN, "KETCHUP_ADMIN_TOKEN_FILE": str(tmp_path / "token")}
    assert faults(tmp_path, environ) == [
        "environment: KETCHUP_ADMIN_TOKEN_FILE: KETCHUP_ADMIN_TOKEN is set too; set only one of them"
    ]


def test_a_secret_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    [fault] = faults(tmp_path, {"KETCHUP_SECRET_KEY_FILE": str(missing)})
    assert fault == (
        "environment: KETCHUP_SECRET_KEY_FILE: cannot read missing: no such file or directory"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KETCHUP_SECRET_KEY", "canary-canary"),
        ("KETCHUP_SECRET_KEY", "g" * 64),
        ("KETCHUP_SECRET_KEY", KEY + "00"),
        ("KETCHUP_ADMIN_TOKEN", "canary-canary"),
        ("KETCHUP_ADMIN_TOKEN", "canary canary canary canary canary canary"),
        ("KETCHUP_ADMIN_TOKEN", "canary-" * 40),
    ],
)
def test_a_bad_secret_is_refused_without_being_shown(tmp_path: Path, name: str, value: str) -> None:
    [fault] = faults(tmp_path, {name: value})
    assert fault.startswith(f"environment: {name}: the value is not accepted; expected ")
    assert value[:12] not in fault


def test_a_secret_is_shown_nowhere(tmp_path: Path) -> None:
    environ = {"KETCHUP_SECRET_KEY": KEY, "KETCHUP_ADMIN_TOKEN": TOKEN}
    loaded = load(environ, folder=tmp_path)
    for text in (repr(loaded), str(loaded.settings), repr(list(shown(loaded)))):
        assert KEY not in text
        assert TOKEN not in text
    rows = {key: (value, source) for key, value, source in shown(loaded)}
    assert rows["secret_key"] == ("***", "environment KETCHUP_SECRET_KEY")


def test_every_value_is_shown_with_its_source(tmp_path: Path) -> None:
    with_file(tmp_path, '[models."google/gempix2"]\nprice = 0.75\n')
    loaded = load({"KETCHUP_LOG_LEVEL": "debug"}, flags={"port": 1}, folder=tmp_path)
    rows = {key: (value, source) for key, value, source in shown(loaded)}
    assert rows["port"] == ("1", "flag --port")
    assert rows["log.level"] == ('"debug"', "environment KETCHUP_LOG_LEVEL")
    assert rows['models."google/gempix2".price'] == (
        '"0.75"',
        f"file {tmp_path / 'ketchup.toml'}",
    )
    assert rows["public_url"] == ("", "default")
    assert rows["start.credits"] == ('"100"', "default")
