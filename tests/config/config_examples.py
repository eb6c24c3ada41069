"""Stand-ins and configurations that several tests share."""

from airflow_provider.scriptrun.config import ScriptRunConfig


class Output:
    """What another task returns, as Airflow's XComArg looks from outside: no plain value, known by two methods."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self):
        return f"Output({self.name!r})"  # without an address: the name of a test is to be the same in each process

    def resolve(self, context):
        raise AssertionError("only a task may look this up")

    def iter_references(self):
        return iter(())

    def __deepcopy__(self, memo):
        raise AssertionError("a copy would not be the same task")


def config(**fields) -> ScriptRunConfig:
    fields.setdefault("source_directory", "training")
    if "command" not in fields:
        fields.setdefault("script", "train.py")
    return ScriptRunConfig(**fields)
