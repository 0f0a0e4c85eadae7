"""The steps of a study: the command line, and every command as a function, such as `pipelines.train(epochs=3)`.

The only package that knows xai, tracking and queries. `pipelines.<Tab>` lists the functions, `help(pipelines.train)`
explains one; each is imported when it is first used.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "record":  # no command: it takes a model and data sets
        from pipelines.recording.record import record

        return record
    if not name.startswith("_"):
        from pipelines.commands import FUNCTIONS

        if name in FUNCTIONS:
            from pipelines.functions import as_function

            globals()[name] = as_function(FUNCTIONS[name])
            return globals()[name]
    raise AttributeError(f"module 'pipelines' has no attribute {name!r}")


def __dir__() -> list[str]:
    from pipelines.commands import FUNCTIONS

    return sorted({*globals(), *FUNCTIONS, "record"})
