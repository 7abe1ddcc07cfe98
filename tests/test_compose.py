"""docker-compose.yml: its services are confined, and what they name is there."""

import re
import tomllib
from pathlib import Path

import pytest
from deployment_files import ROOT, compose, instructions, interpolated, read_yaml, settings, text

SERVING = ("vcemo", "vcemo-gpu")


@pytest.mark.parametrize("name", SERVING)
def test_the_settings_accept_every_variable_that_compose_sets(name: str) -> None:
    found = settings(name)

    assert found.device == ("cuda" if name == "vcemo-gpu" else "cpu")
    assert str(found.bundle) == "/artifacts/vcemo-whisper-zh"


def test_one_command_starts_the_service_and_profiles_add_the_rest() -> None:
    profiles = {name: tuple(service.get("profiles", [])) for name, service in compose().items()}

    assert profiles == {
        "vcemo": (),
        "vcemo-gpu": ("gpu",),
        "retrain": ("retrain",),
        "prometheus": ("dashboard",),
        "grafana": ("dashboard",),
    }


def test_every_service_is_confined_and_listens_for_this_machine_only() -> None:
    ports = [port for service in compose().values() for port in service.get("ports", [])]

    for service in compose().values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert any(mount.startswith("/tmp") for mount in service["tmpfs"]) or service["image"].startswith("prom/")
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


@pytest.mark.parametrize("name", SERVING)
def test_a_stopped_service_is_given_the_time_to_linger_and_drain(name: str) -> None:
    found = settings(name)

    grace_seconds = int(compose()[name]["stop_grace_period"].removesuffix("s"))

    assert grace_seconds >= found.linger_seconds + found.drain_seconds + 5


def test_images_are_targets_of_the_dockerfile_in_the_version_of_the_project() -> None:
    version = tomllib.loads(text("pyproject.toml"))["project"]["version"]
    stages = {argument.rpartition(" AS ")[2] for argument in instructions("FROM")}
    built = {service["build"]["target"]: service["image"] for service in compose().values() if "build" in service}

    assert built.keys() <= stages
    assert built == {
        "cpu": f"vcemo:{version}",
        "gpu": f"vcemo:{version}-gpu",
        "training": f"vcemo:{version}-training",
    }


def test_foreign_images_are_pinned_to_a_version() -> None:
    foreign = [service["image"] for service in compose().values() if "build" not in service]

    assert foreign
    assert all(re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", image) for image in foreign)


def test_every_mounted_file_is_in_the_repository_and_every_volume_is_declared() -> None:
    mounts = [interpolated(mount) for service in compose().values() for mount in service.get("volumes", [])]
    sources = {mount.split(":")[0] for mount in mounts}
    declared = set(read_yaml("docker-compose.yml")["volumes"])

    ours = {source for source in sources if source.startswith("./")}

    assert ours
    assert all((ROOT / source).exists() for source in ours)
    assert sources - ours - {"../shared/data"} == declared


def test_the_service_reads_the_bundles_that_retraining_writes() -> None:
    assert "bundles:/bundles:ro" in compose()["vcemo"]["volumes"]
    assert "bundles:/bundles" in compose()["retrain"]["volumes"]
    assert compose()["retrain"]["command"][:3] == ["python", "-m", "training"]


def test_folders_of_named_volumes_belong_to_the_user_of_the_image() -> None:
    run = " ".join(instructions("RUN", stage="runtime"))
    mounted = {
        mount.split(":")[1]
        for service in ("vcemo", "vcemo-gpu", "retrain")
        for mount in compose()[service]["volumes"]
        if not mount.startswith(("$", "."))
    }

    assert mounted == {"/bundles", "/var/lib/vcemo", "/cache"}
    assert all(re.search(rf"install --directory --owner=vcemo [^&]*{folder}(?= |$)", run) for folder in mounted)


def test_prometheus_finds_each_service_by_its_name_and_port() -> None:
    (scrape,) = read_yaml("monitoring/prometheus.yml")["scrape_configs"]
    (discovery,) = scrape["dns_sd_configs"]

    assert discovery["names"] == ["vcemo"]
    assert "vcemo" in compose()
    assert compose()["vcemo-gpu"]["networks"]["default"]["aliases"] == ["vcemo"]
    assert discovery["port"] == settings("vcemo").port == int(instructions("EXPOSE")[0]) == 8000
    assert [compose()[name]["ports"][0].rpartition(":")[2] for name in SERVING] == ["8000", "8000"]


def test_grafana_finds_its_data_source_and_its_dashboards_where_compose_puts_them() -> None:
    mounts = dict(mount.removesuffix(":ro").split(":") for mount in compose()["grafana"]["volumes"])
    (source,) = read_yaml("monitoring/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    (provider,) = read_yaml("monitoring/grafana/provisioning/dashboards/vcemo.yml")["providers"]
    home = compose()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]

    assert source["url"] == "http://prometheus:9090"
    assert provider["options"]["path"] == mounts["./monitoring/grafana/dashboards"]
    assert (ROOT / "monitoring/grafana/dashboards" / Path(home).name).is_file()
    assert str(Path(home).parent) == provider["options"]["path"]
