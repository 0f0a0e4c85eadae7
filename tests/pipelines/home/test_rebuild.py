"""Rebuilding the index."""

import os

import pytest

from support.commands import said
from tracking.home import Home


def test_a_home_that_cannot_be_written_is_one_line(copy: Home, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    before = copy.database.stat()
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    code, line = said(capsys, copy, "rebuild")
    assert code == 2
    assert line == f"study: the study home {copy.path} is read-only; it answers questions, new runs need another --home"
    assert copy.database.stat() == before
