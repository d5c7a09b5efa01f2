"""What `snakeshed models` says: every model, what it takes and gives, and where it is from."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill

from snakeshed.models.combined import CombinedModel
from snakeshed.models.model import Input, Model
from snakeshed.models.registry import published_models

_WIDTH = 100


def models_text() -> str:
    """Return all models in words, without a line break at the end."""
    return "\n\n".join("\n".join(_lines(model)) for model in published_models().values())


def _lines(model: Model) -> Iterator[str]:
    yield f"{model.name}: {model.title}"
    yield f"  gives      {', '.join(model.gives)}"
    if isinstance(model, CombinedModel):
        yield "  takes      the results of a likelihood and a volume model of the study"
    else:
        yield f"  rainfall   within {', '.join(map(str, model.durations_min))} minutes"
        for each in model.inputs:
            yield _wrapped("input", f"{each.key}: {_input(each)}")
    yield _wrapped("formula", model.formula)
    yield _wrapped("paper", f"{model.paper.citation} doi:{model.paper.doi}")


def _input(each: Input) -> str:
    text = each.description + (f", {each.unit}" if each.unit else "")
    if each.setting is not None:
        return f"{text}; from the key {each.setting} of the model"
    factor = "" if each.scale == 1 else f" x {each.scale:g}"
    return f"{text}; from the column {each.column}{factor}, if no other is named"


def _wrapped(word: str, text: str) -> str:
    return fill(text, _WIDTH, initial_indent=f"  {word:<10} ", subsequent_indent=" " * 13)
