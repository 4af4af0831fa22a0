"""Which groups there are, and what is said of one that lost its lock file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from merkql.group_names import list_groups, unnamed_groups
from merkql.groups import CommittedOffset, Group, PartitionKey
from merkql.storage import layout
from merkql.storage.files import Files

CUT = ["x" * 249, ":" * 249]  # in the name of their directory
SHORT = ["a", "a:b", ".hidden", "-"]


def commit(groups: str, name: str) -> Group:
    group = Group(Files(), groups, name)
    group.make_directory()
    offsets = {PartitionKey(bytes(16), 0): CommittedOffset(7, 0)}
    group.under_lock(lambda lock: group.commit_locked(lock, offsets))
    return group


@pytest.mark.parametrize("name", SHORT + CUT)
def test_groups_are_listed_by_their_names(tmp_path: Path, name: str) -> None:
    groups = str(tmp_path)
    Group(Files(), groups, name).make_directory()
    assert list_groups(Files(), groups) == []  # nobody ever used it
    commit(groups, name)
    assert list_groups(Files(), groups) == [name]
    assert unnamed_groups(Files(), groups) == []


@pytest.mark.parametrize("name", SHORT)
def test_a_group_without_its_lock_file_passed_as_one_that_committed_nothing(
    tmp_path: Path, name: str
) -> None:
    group = commit(str(tmp_path), name)
    os.remove(layout.group_lock(group.directory))
    assert list_groups(Files(), str(tmp_path)) == [name]
    read = Group(Files(), str(tmp_path), name).read_offsets()
    assert [one.offset for one in read.values()] == [7]


@pytest.mark.parametrize("name", CUT)
def test_a_name_that_is_lost_is_damage_until_the_next_member_writes_it(
    tmp_path: Path, name: str
) -> None:
    groups = str(tmp_path)
    lock = layout.group_lock(commit(groups, name).directory)
    os.remove(lock)
    assert list_groups(Files(), groups) == []
    (damage,) = unnamed_groups(Files(), groups)
    assert damage.path == lock
    commit(groups, name)
    assert list_groups(Files(), groups) == [name]
    assert unnamed_groups(Files(), groups) == []


def test_what_no_group_was_made_for_is_none(tmp_path: Path) -> None:
    (tmp_path / "%2E.").mkdir()  # `..`
    (tmp_path / "%2E./lock").write_bytes(b"")
    assert list_groups(Files(), str(tmp_path)) == []
    assert unnamed_groups(Files(), str(tmp_path)) == []


def test_a_list_of_no_groups(tmp_path: Path) -> None:
    assert list_groups(Files(), str(tmp_path / "groups")) == []
    assert unnamed_groups(Files(), str(tmp_path / "groups")) == []
