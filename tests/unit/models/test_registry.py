"""A model is one file: whatever is in the package of published models is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from studies import COLUMNS, ROW

from snakeshed import cli
from snakeshed.jobs.digest import imported_modules
from snakeshed.models import published
from snakeshed.models.configured import StudyModels
from snakeshed.models.registry import published_models

SCRIPTS = Path(__file__).parents[3] / "scripts"
NEW_MODEL = '''"""Likelihood of Nobody (2030)."""

from snakeshed.models.logistic import Link, LogisticModel
from snakeshed.models.model import Input, Paper

MODELS = (
    LogisticModel(
        name="{name}",
        title="Likelihood by slope alone",
        paper=Paper("Nobody (2030). Journal.", "Nobody (2030)", "10.1000/none"),
        formula="p = 1 / (1 + exp(-(-3 + 0.01 slope R)))",
        inputs=(Input("slope", "degrees", "mean slope", (0, 60), column="slope_mean_deg"),),
        durations_min=(15,),
        links={{15: Link(-3.0, {{"slope": 0.01}})}},
    ),
)
'''


@pytest.fixture
def dropped(tmp_path, monkeypatch):
    """Put a file with a model of a name into the package."""

    def drop(name: str) -> None:
        (tmp_path / f"nobody2030_{name}.py").write_text(NEW_MODEL.format(name=name))
        monkeypatch.setattr(published, "__path__", [*published.__path__, str(tmp_path)])
        published_models.cache_clear()

    yield drop
    monkeypatch.undo()
    published_models.cache_clear()


def test_a_file_in_the_package_is_a_model(dropped, capsys):
    dropped("nobody2030")
    entry = {"name": "nobody2030", "inputs": {}}
    storm = {"name": None, "duration_min": 15, "intensity_mm_per_h": 24.0} | dict.fromkeys(
        ("column", "unit")
    )
    settings = {"models": [entry], "storms": [storm], "likelihoods": [0.5], "layers": []}
    models = StudyModels.of(settings, COLUMNS)
    found = models.evaluate("nobody2030", ROW, 15, 100.0)
    # 27 degrees and 100 mm: log-odds of -3 + 27.
    assert found.likelihood == pytest.approx(1.0)
    assert models.threshold_runs() == [("nobody2030", 15, 0.5)]
    assert cli.main(["models"]) == 0
    assert "\nnobody2030: Likelihood by slope alone\n" in capsys.readouterr().out


def test_two_models_of_one_name_are_a_mistake(dropped):
    dropped("swa")
    with pytest.raises(ValueError, match="another model is called swa"):
        published_models()


def test_another_coefficient_runs_hazards_again_and_no_shard():
    files = set(Path(published.__path__[0]).glob("*.py"))
    assert len(files) > 4
    assert files <= imported_modules(SCRIPTS / "hazard.py")
    for script in ("prepare_sites", "delineate", "extract_features", "gather"):
        assert not files.intersection(imported_modules(SCRIPTS / f"{script}.py"))


def test_names_of_inputs_are_columns_of_their_own():
    own = {"site_id", "status", "reason", "remark", "model", "storm", "duration_min"}
    own |= {"rainfall_mm", "intensity_mm_per_h", "likelihood"}
    for model in published_models().values():
        assert not own.intersection(each.key for each in model.inputs)
        assert not set(model.gives).intersection(each.key for each in model.inputs)


def test_the_command_lists_models_inputs_and_papers(capsys):
    assert cli.main(["models"]) == 0
    said = capsys.readouterr().out
    for name, model in published_models().items():
        part = " ".join(said.partition(f"{name}: ")[2].partition("\n\n")[0].split())
        assert model.title in part
        assert f"doi:{model.paper.doi}" in part
        assert all(f"{each.key}: {each.description}" in part for each in model.inputs)
        if model.durations_min:
            assert f"within {', '.join(map(str, model.durations_min))} minutes" in part
    assert "from the column dnbr_mean x 0.001, if no other is named" in " ".join(said.split())
    assert "from the key years_since_fire of the model" in " ".join(said.split())
    assert max(map(len, said.splitlines())) <= 100
