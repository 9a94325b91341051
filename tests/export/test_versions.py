"""What `publish` leaves behind; that versions grow is in test_saved_model.py."""

import os

import pytest

from zoo.export import versions


def fails(folder):
    (folder / "half").touch()
    raise OSError("no space left")


def succeeds(folder):
    (folder / "whole").touch()


def test_a_failure_leaves_no_directory_that_was_made_for_it(tmp_path):
    (tmp_path / "old").mkdir()
    for name in ("old", "new"):
        with pytest.raises(OSError, match="no space left"):
            versions.publish(tmp_path / name, fails)
    assert list(tmp_path.rglob("*")) == [tmp_path / "old"]
    with pytest.raises(OSError, match="no space left"):
        versions.publish(tmp_path / "deep" / "new", fails)
    assert list(tmp_path.rglob("*")) == [tmp_path / "old"]
    assert versions.publish(tmp_path / "new", succeeds) == tmp_path / "new" / "1"


def test_versions_are_folders_and_their_own_paths(tmp_path):
    for name in ("0002", "10", "v3"):
        (tmp_path / name).mkdir()
    (tmp_path / "11").touch()
    assert versions.versions(tmp_path) == [tmp_path / "0002", tmp_path / "10"]
    # The file's name is taken all the same.
    assert versions.publish(tmp_path, succeeds) == tmp_path / "12"


def test_a_version_that_another_process_took_is_left_to_it(tmp_path, monkeypatch):
    real = os.rename

    def others_first(source, target):
        monkeypatch.undo()
        target.mkdir()
        (target / "theirs").touch()
        real(source, target)

    monkeypatch.setattr(os, "rename", others_first)
    assert versions.publish(tmp_path, succeeds) == tmp_path / "2"
    assert os.listdir(tmp_path / "1") == ["theirs"]
    assert os.listdir(tmp_path / "2") == ["whole"]


def test_a_folder_that_cannot_be_moved_is_an_error(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError("not yours")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(PermissionError, match="not yours"):
        versions.publish(tmp_path / "new", succeeds)
    assert list(tmp_path.iterdir()) == []
