from __future__ import annotations

import json
from pathlib import Path

from pomona.report.evidence import Evidence
from pomona.report.provenance import provenance
from pomona.studies.results import Results
from pomona.studies.run import run
from pomona.studies.study import load_study, parse_study
from pomona.training.lanes import native
from tests.report.conftest import results_of, study_text


def test_provenance_lists_the_run_that_computed_a_shared_state(plain_results: Results) -> None:
    other = parse_study(study_text("other"))
    found = provenance(Evidence(Results(other, plain_results.store)))
    assert [row[1] for row in found.runs] == ["plain"]
    # The start, the training and two measurements of each replicate.
    assert int(found.runs[0][6]) == 3 * 4


def test_provenance_counts_a_run_that_found_everything_cached(tmp_path: Path) -> None:
    study = parse_study(study_text("twice", replicates=1))
    run(study, store=tmp_path / "store", workers=0)
    results = run(study, store=tmp_path / "store", workers=0)
    found = provenance(Evidence(results))
    assert [row[4] for row in found.runs] == ["done", "done"]
    assert found.runs[1][6] == "0"
    assert len(found.environments) == 1


def test_commands_name_the_file_preset_and_store(tmp_path: Path, plain_results: Results) -> None:
    text = study_text("filed") + "presets:\n  quick: {replicates: 1}\n"
    (tmp_path / "my study.yaml").write_text(text)
    study = load_study(tmp_path / "my study.yaml", "quick")
    found = provenance(Evidence(Results(study, plain_results.store)))
    store = plain_results.store.folder
    assert found.commands[0][0] == f"pomona run '{tmp_path}/my study.yaml' --preset quick --store {store}"
    assert found.commands[3][0].endswith(f"--store {store}")
    assert found.note == ""


def test_commands_say_what_they_lack(tmp_path: Path, plain_results: Results) -> None:
    (tmp_path / "filed.yaml").write_text(study_text("filed"))
    changed = load_study(tmp_path / "filed.yaml", changes={"replicates": 2})
    found = provenance(Evidence(Results(changed, plain_results.store)))
    assert found.note == ""
    assert all("--set replicates=2" in command or "show" in command for command, _ in found.commands)
    assert "save the YAML above as plain.yaml" in provenance(Evidence(plain_results)).note


def engines(text: str, folder: Path) -> list[tuple[str, ...]]:
    found = provenance(Evidence(results_of(text, folder, compute=False)))
    return [row for row in found.facts if row[0].startswith("Engine")]


def test_engine_is_named_with_its_numerics_and_why_it_is_not_lanes(tmp_path: Path) -> None:
    text = study_text("one")
    assert engines(text, tmp_path) == [("Engine", "lanes, numerics 2, float32")]
    assert engines(text + "engine: torch\n", tmp_path) == [("Engine", "torch, numerics 1, float32")]
    normed = text.replace("{name: fc, options: {hidden: 12-8}}", "resnet-20")
    ((_, said),) = engines(normed, tmp_path)
    assert said.startswith("torch, numerics 1, float32; not on the lane engine: bn: BatchNorm2d is not among")


def test_engines_of_several_networks_are_told_apart(tmp_path: Path) -> None:
    text = study_text("two", factors="factors: {net: [fc, resnet-20]}")
    found = engines(text.replace("{name: fc, options: {hidden: 12-8}}", "$net"), tmp_path)
    assert [row[0] for row in found] == ["Engine of fc 1x8x8", "Engine of resnet-20 1x8x8"]
    assert [row[1].split(",")[0] for row in found] == ["lanes", "torch"]


def test_environment_names_the_kernels_where_the_record_does(tmp_path: Path) -> None:
    results = run(parse_study(study_text("kernels", replicates=1)), store=tmp_path / "store", workers=0)
    row = ("Kernels of the lane engine", native.instruction_set())
    assert row in provenance(Evidence(results)).environments[0][1]
    # As a store has it from before there were any.
    with results.store.ledger.transaction() as connection:
        (old,) = connection.execute("SELECT document FROM environments").fetchone()
        about = json.loads(old)
        del about["kernels"]
        connection.execute("UPDATE environments SET document = ?", [json.dumps(about)])
    assert ("Kernels of the lane engine", "none") in provenance(Evidence(results)).environments[0][1]
