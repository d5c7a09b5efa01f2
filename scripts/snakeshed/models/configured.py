"""The models of a study: which columns they take, and what they give for a site and a rainfall.

This is read at every start of Snakemake: it imports nothing heavy.

``StudyModels.of(configuration, columns)`` refuses what cannot be computed. After that,
``evaluate(model, row, duration_min, rainfall_mm)`` computes one value from one row of
``features.parquet``, and `site_inputs` with `outcome` does so for many rainfalls of one site.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from snakeshed.errors import SeveralProblems
from snakeshed.models.combined import CombinedModel
from snakeshed.models.contradictions import check_models
from snakeshed.models.declared import DeclaredModel, declared_models
from snakeshed.models.logistic import LogisticModel, Threshold
from snakeshed.models.model import Outcome, RainModel
from snakeshed.models.storms import Storm, check_storms

# The parts of a configuration that hazards depend on, beside the names and types of the layers.
SETTINGS = ("models", "storms", "likelihoods")


def hazard_settings(study: Mapping) -> dict:
    """Return what `StudyModels.of` reads of a completed configuration, and nothing else.

    Parameters
    ----------
    study : mapping
    """
    layers = [{key: layer[key] for key in ("name", "type")} for layer in study["layers"]]
    return {key: study[key] for key in SETTINGS} | {"layers": layers}


def needed_columns(configuration: Mapping) -> list[str]:
    """Return the columns of ``features.parquet`` that the models of a study take, each once.

    Parameters
    ----------
    configuration : mapping
        Completed; see `hazard_settings`. It need not make sense: columns of a severity layer are
        left out where there is not exactly one.
    """
    return _columns_of(declared_models(configuration))


@dataclass(frozen=True)
class ModelInputs:
    """The inputs of a model at one site.

    Attributes
    ----------
    values : Mapping of str to float or None
        By key, as the model takes them; None where missing.
    reason : str or None
        Why the model gives nothing there.
    remark : str or None
        What is implausible.
    """

    values: Mapping[str, float | None]
    reason: str | None = None
    remark: str | None = None


@dataclass(frozen=True)
class StudyModels:
    """The models and storms of a study.

    Attributes
    ----------
    models : Mapping of str to DeclaredModel
        By name, in the order of the configuration.
    storms : tuple of Storm
    likelihoods : tuple of float
        For which thresholds are computed.
    """

    models: Mapping[str, DeclaredModel]
    storms: tuple[Storm, ...]
    likelihoods: tuple[float, ...]

    @classmethod
    def of(cls, configuration: Mapping, columns: Collection[str]) -> StudyModels:
        """Make the models of a study.

        Parameters
        ----------
        configuration : mapping
            Completed; see `hazard_settings`.
        columns : collection of str
            Numeric columns of the study's ``features.parquet``.

        Raises
        ------
        SeveralProblems
            A model or a storm contradicts the rest of the study: one `ConfigurationError` for
            each contradiction.
        """
        problems = list(check_storms(configuration["storms"]))
        storms = tuple(map(Storm.of, configuration["storms"]))
        declared = declared_models(configuration)
        problems += check_models(configuration, declared, storms, columns)
        if problems:
            raise SeveralProblems(problems)
        models = {each.name: each for each in declared}
        return cls(models, storms, tuple(configuration["likelihoods"]))

    def needed_columns(self) -> list[str]:
        """Return the columns of ``features.parquet`` that the models take, each once."""
        return _columns_of(self.models.values())

    def input_keys(self) -> list[str]:
        """Return the keys of all inputs of all models, each once, in their order."""
        keys = [each.input.key for model in self.models.values() for each in model.inputs]
        return list(dict.fromkeys(keys))

    def durations_min(self, model: str) -> tuple[int, ...]:
        """Return the durations of rainfall that a model takes, minutes."""
        declared = self.models[model]
        if isinstance(declared.model, CombinedModel):
            volume = self.models[declared.volume].model.durations_min
            likelihood = self.models[declared.likelihood].model.durations_min
            return tuple(each for each in likelihood if each in volume)
        return declared.model.durations_min

    def runs(self) -> list[tuple[str, Storm]]:
        """Return each model with each storm of a duration that it takes, in their order."""
        return [
            (name, storm)
            for name in self.models
            for storm in self.storms
            if storm.duration_min in self.durations_min(name)
        ]

    def threshold_runs(self) -> list[tuple[str, int, float]]:
        """Return each likelihood model with each of its durations and each likelihood."""
        return [
            (name, duration, likelihood)
            for name, declared in self.models.items()
            if isinstance(declared.model, LogisticModel)
            for duration in declared.model.durations_min
            for likelihood in self.likelihoods
        ]

    def need_observations(self) -> bool:
        """Tell whether a model takes a storm whose rainfall is in the site table."""
        return any(storm.column is not None for _, storm in self.runs())

    def evaluate(
        self,
        model: str,
        row: Mapping[str, Any],
        duration_min: int,
        rainfall_mm: float | None,
        missing: str = "no rainfall",
    ) -> Outcome:
        """Return what a model gives for a site and a rainfall.

        Parameters
        ----------
        model : str
            Name of a model of the study.
        row : mapping of str to object
            Of ``features.parquet``: the columns of `needed_columns`, with None or NaN where a
            value is missing, and, if they are there, ``status`` and ``reason``.
        duration_min : int
            One of `durations_min`.
        rainfall_mm : float or None
            Within this duration, mm; None where it is missing.
        missing : str
            The reason where it is.

        Returns
        -------
        Outcome
            With a reason in place of what cannot be computed.

        Raises
        ------
        ValueError
            The model does not take this duration.
        """
        return self.outcome(model, self.site_inputs(row), duration_min, rainfall_mm, missing)

    def site_inputs(self, row: Mapping[str, Any]) -> dict[str, ModelInputs]:
        """Return the inputs of all models at a site, by model; see `evaluate`."""
        return {
            name: _read(declared, row)
            for name, declared in self.models.items()
            if isinstance(declared.model, RainModel)
        }

    def outcome(
        self,
        model: str,
        site: Mapping[str, ModelInputs],
        duration_min: int,
        rainfall_mm: float | None,
        missing: str = "no rainfall",
    ) -> Outcome:
        """Return what `evaluate` returns, for inputs that have been read by `site_inputs`."""
        declared = self.models[model]
        if isinstance(declared.model, RainModel):
            if duration_min not in declared.model.durations_min:
                raise ValueError(f"{model} takes no rainfall of {duration_min} minutes")
            return _of_rain(declared.model, site[model], duration_min, rainfall_mm, missing)
        likelihood = self.outcome(declared.likelihood, site, duration_min, rainfall_mm, missing)
        volume = self.outcome(declared.volume, site, duration_min, rainfall_mm, missing)
        return Outcome(
            likelihood=likelihood.likelihood,
            volume_m3=volume.volume_m3,
            volume_low_m3=volume.volume_low_m3,
            volume_high_m3=volume.volume_high_m3,
            reason=_joined(likelihood.reason, volume.reason),
            remark=_joined(likelihood.remark, volume.remark),
            **declared.model.classes(declared.bins, likelihood.likelihood, volume.volume_m3),
        )

    def threshold(
        self, model: str, inputs: ModelInputs, duration_min: int, likelihood: float
    ) -> Threshold:
        """Return the rainfall at which a likelihood is reached.

        Parameters
        ----------
        model : str
            A likelihood model of the study.
        inputs : ModelInputs
            Of this model, from `site_inputs`.
        duration_min : int
            One of `durations_min`.
        likelihood : float
            Between 0 and 1, both excluded.
        """
        if inputs.reason is not None:
            return Threshold(reason=inputs.reason)
        return self.models[model].model.threshold(inputs.values, duration_min, likelihood)


def _columns_of(models: Iterable[DeclaredModel]) -> list[str]:
    columns = [each.column for model in models for each in model.inputs]
    return [column for column in dict.fromkeys(columns) if column is not None]


def _of_rain(
    model: RainModel,
    inputs: ModelInputs,
    duration_min: int,
    rainfall_mm: float | None,
    missing: str,
) -> Outcome:
    reason, values = inputs.reason, {}
    if rainfall_mm is None:
        reason = _joined(reason, missing)
    elif not rainfall_mm >= 0:
        reason = _joined(reason, f"the rainfall is {rainfall_mm:g} mm")
    if reason is None:
        values = model.values(inputs.values, duration_min, rainfall_mm)
        reason = values.pop("reason", None)
    return Outcome(reason=reason, remark=inputs.remark, inputs=inputs.values, **values)


def _read(declared: DeclaredModel, row: Mapping[str, Any]) -> ModelInputs:
    own_reason = row.get("reason")
    if row.get("status", "ok") != "ok":
        nothing = dict.fromkeys(each.input.key for each in declared.inputs)
        return ModelInputs(nothing, reason=own_reason or row["status"])
    values, missing, outside, remarks = {}, [], [], []
    for each in declared.inputs:
        key, value = each.input.key, each.value
        if each.column is not None:
            cell = row[each.column]
            value = None if cell is None or not math.isfinite(cell) else cell * each.scale
        values[key] = value
        if value is None:
            missing.append(f"{key} ({each.column})")
            continue
        if each.input.domain != "any" and (
            value < 0 or (value == 0 and each.input.domain == "positive")
        ):
            outside.append(f"the formula has no value where {key} is {value:g}")
        low, high = each.input.plausible
        if not low <= value <= high:
            remarks.append(f"{each.source()} is {value:g}; expected {low:g} to {high:g}")
        elif 0 < abs(value) < each.input.tiny:
            remarks.append(
                f"{each.source()} is {value:g}, next to 0: the catchment is unburned, or the scale "
                f"of {each.scale:g} is wrong"
            )
    reason = None
    if missing:
        reason = _joined(f"missing input: {', '.join(missing)}", own_reason)
    elif outside:
        reason = "; ".join(outside)
    return ModelInputs(values, reason, "; ".join(remarks) or None)


def _joined(*texts: str | None) -> str | None:
    """Return the texts that are there, each once, in one line."""
    return "; ".join(dict.fromkeys(filter(None, texts))) or None
