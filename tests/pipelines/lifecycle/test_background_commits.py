"""Epochs that are committed while the next one is trained."""

import time
from collections.abc import Iterator
from threading import Event

import pytest

from pipelines.lifecycle import epoch_commit
from pipelines.lifecycle.epoch_commit import commit_in_background

PATIENCE = 20  # seconds until a test that waits in vain fails


class Staged(int):
    """The number of an epoch, in place of one whose files are written."""

    has_files = True

    @property
    def folder(self) -> "Staged":
        return self

    def cleanup(self) -> None:
        self.has_files = False


def test_an_epoch_is_committed_while_the_next_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made_next = [Event() for _ in range(4)]

    def commit(epoch: int) -> int:
        assert made_next[epoch].wait(PATIENCE), "the next epoch waits for this one"
        return epoch

    def make_epochs() -> Iterator[int]:
        for epoch in range(4):
            if epoch:
                made_next[epoch - 1].set()
            yield Staged(epoch)
        made_next[3].set()

    monkeypatch.setattr(epoch_commit, "commit_staged", commit)
    assert list(commit_in_background(make_epochs())) == [0, 1, 2, 3]


def test_one_epoch_at_a_time_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    def commit(epoch: int) -> int:
        events.append(f"begin {epoch}")
        time.sleep(0.05)  # in which another could begin
        events.append(f"end {epoch}")
        return epoch

    monkeypatch.setattr(epoch_commit, "commit_staged", commit)
    assert list(commit_in_background(map(Staged, range(3)))) == [0, 1, 2]
    assert events == ["begin 0", "end 0", "begin 1", "end 1", "begin 2", "end 2"]


def test_no_epochs_no_commits() -> None:
    assert list(commit_in_background(iter(()))) == []


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_fails_in_the_thread_is_raised_and_nothing_is_committed_after_it(
    monkeypatch: pytest.MonkeyPatch, failing: int, error: type[BaseException]
) -> None:
    tried: list[int] = []

    def commit(epoch: int) -> int:
        tried.append(epoch)
        if epoch == failing:
            raise error("no space left")
        return epoch

    monkeypatch.setattr(epoch_commit, "commit_staged", commit)
    committed: list[int] = []
    epochs = [Staged(number) for number in range(3)]
    with pytest.raises(error, match="no space left"):
        committed += commit_in_background(iter(epochs))
    assert tried == list(range(failing + 1))
    assert committed == list(range(failing))
    assert not any(epoch.has_files for epoch in epochs[failing : failing + 2])  # neither of it nor of the next one


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_training_that_stops_still_commits_the_epoch_before(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    stopped, tried = Event(), []

    def commit(epoch: int) -> None:
        assert stopped.wait(PATIENCE)
        tried.append(epoch)

    def make_epochs() -> Iterator[int]:
        yield Staged(0)
        stopped.set()
        raise error

    monkeypatch.setattr(epoch_commit, "commit_staged", commit)
    with pytest.raises(error):
        list(commit_in_background(make_epochs()))
    assert tried == [0]


def test_a_stopped_training_does_not_wait_for_a_lost_server(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, ended = Event(), Event()
    staged = Staged(0)

    def commit(_: int) -> None:
        answers.wait(PATIENCE)
        ended.set()

    def make_epochs() -> Iterator[int]:
        yield staged
        raise KeyboardInterrupt

    monkeypatch.setattr(epoch_commit, "commit_staged", commit)
    monkeypatch.setattr(epoch_commit, "LONGEST_END", 0.1)
    with pytest.raises(KeyboardInterrupt):
        list(commit_in_background(make_epochs()))
    assert not ended.is_set()
    assert not staged.has_files  # so nothing of it is committed later, when the run may have been resumed
    answers.set()
