"""Where a bundle may be loaded from."""

from pathlib import Path

import pytest

from model.errors import BundleOutside
from service.loading import allowed_bundle


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """A folder of two bundles and a link to the first, beside a folder that is nobody's business."""
    for name in ("bundles/one", "bundles/two", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "bundle.json").write_text("{}")
    (tmp_path / "bundles" / "current").symlink_to("one")
    return tmp_path / "bundles" / "current"


def test_the_configured_bundle_is_where_its_link_leads_now(configured: Path) -> None:
    assert allowed_bundle(configured) == (configured.parent / "one").resolve()
    configured.unlink()
    configured.symlink_to("two")
    assert allowed_bundle(configured) == (configured.parent / "two").resolve()


def test_a_bundle_beside_the_configured_one_is_named_as_it_is_or_in_full(configured: Path) -> None:
    two = (configured.parent / "two").resolve()
    assert allowed_bundle(configured, "two") == allowed_bundle(configured, f"{two}") == two


def test_a_relative_setting_is_taken_from_the_working_directory(
    configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(configured.parent)
    assert allowed_bundle(Path("current"), "two") == (configured.parent / "two").resolve()


@pytest.mark.parametrize(
    "asked",
    ["..", ".", "../elsewhere", "/etc", "two/../../elsewhere", "../bundles", "a\0b", "x" * 5000, "~/bundle/../.."],
)
def test_a_path_that_leaves_the_folder_is_refused(configured: Path, asked: str) -> None:
    with pytest.raises(BundleOutside) as caught:
        allowed_bundle(configured, asked)
    assert str(configured.parent) not in caught.value.message


def test_a_link_that_leaves_the_folder_is_refused(configured: Path) -> None:
    (configured.parent / "way-out").symlink_to("../elsewhere")
    with pytest.raises(BundleOutside):
        allowed_bundle(configured, "way-out")


def test_a_bundle_whose_file_is_a_link_that_leaves_the_folder_is_refused(configured: Path) -> None:
    (configured.parent / "two" / "fusion.onnx").symlink_to("../../elsewhere/bundle.json")
    with pytest.raises(BundleOutside, match="with all its files"):
        allowed_bundle(configured, "two")


def test_a_loop_of_links_is_refused(configured: Path) -> None:
    (configured.parent / "loop").symlink_to("loop")
    with pytest.raises(BundleOutside):
        allowed_bundle(configured, "loop")
