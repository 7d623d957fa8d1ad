"""A sweep measures every point of its grid once, whatever happens to it, and its table says what came out."""

import csv
import math
import multiprocessing
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fimcheck import numerics, theory
from fimcheck.verify import Draws, Setting
from fimcheck.verify.cli.sweep import app
from fimcheck.verify.draws.store import Store, StoreError
from fimcheck.verify.sweep import sweep, table
from fimcheck.verify.sweep.grid import GridError, Point, load

GRID = """
networks = 6
widths = [16, 32]
quantities = ["m", "lambda_max", "hq2"]
predict = true
[setting]
activation = ["relu", "tanh"]
sigma_w2 = [1.5, 2]
samples = 4
"""


def grid(tmp_path: Path, text: str = GRID) -> list[Point]:
    file = tmp_path / "grid.toml"
    file.write_text(text)
    return load(file)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_grid_is_the_product_of_its_axes(tmp_path: Path) -> None:
    points = grid(tmp_path)
    assert [(p.setting().activation, p.setting().sigma_w2, p.width) for p in points] == [
        (a, s, w) for a in ("relu", "tanh") for s in (1.5, 2.0) for w in (16, 32)
    ]
    assert {p.setting().samples for p in points} == {4}
    same = grid(tmp_path, GRID.replace("[1.5, 2]", "[2, 2.0]"))
    assert len(same) == 4, "equal points are one"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("2", [(2, 2, 2)]), ("[2, 1, 1]", [(2, 1, 1)]), ("[[2, 1, 1], [1, 1, 1]]", [(2, 1, 1), (1, 1, 1)])],
)
def test_ratios_are_one_value_or_a_list_of_lists(tmp_path: Path, written: str, meant: list) -> None:
    points = grid(tmp_path, f"networks=2\nwidths=[8]\nquantities=['m']\n[setting]\nsamples=2\nratios={written}")
    assert [p.setting().ratios for p in points] == meant


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("networks = 6", "", "networks is missing"),
        ("networks = 6", "networks = 1", "networks = 1 must be"),
        ("networks = 6", "networks = true", "networks = True must be"),
        ("[16, 32]", "16", "widths = 16 must be a list"),
        ("[16, 32]", "[]", r"widths = \[\] must be"),
        ('"m", ', '"mm", ', "quantities = .* must be a list of some of m, s"),
        ('"m", ', '"outputs", ', "quantities"),
        ("predict = true", "predict = 1", "predict = 1 must be true or false"),
        ("predict = true", "predcit = true", "predcit is unknown"),
        ("samples = 4", "sample = 4", "setting.sample is unknown"),
        ("samples = 4", "samples = 4.5", "setting.samples"),
        ("samples = 4", "samples = []", "setting.samples"),
        ("[1.5, 2]", '[1.5, "2"]', "setting.sigma_w2"),
        ("[setting]", "[settings]", "setting is missing"),
        ("networks = 6", "networks = ", "TOML"),
    ],
)
def test_a_bad_grid_is_refused_by_key(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in GRID
    with pytest.raises(GridError, match=told) as refusal:
        grid(tmp_path, GRID.replace(old, new))
    assert "grid.toml" in str(refusal.value)


def test_a_sweep_says_what_both_engines_say(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    sweep.run(grid(tmp_path), store, None)
    rows = {(r["activation"], r["sigma_w2"], r["width"], r["quantity"]): r for r in table.rows(store)}
    assert len(rows) == 8 * 5, "m, lambda_max and hq2 of layers 0, 1, 2"
    setting = Setting("tanh", sigma_w2=1.5, samples=4)
    seeds = [setting.seed(32, "0/main", i) for i in range(6)]
    drawn = numerics.measure(setting.network(32), 4, seeds, ["lambda_max", "hq2"]).draws
    row = rows["tanh", 1.5, 32, "lambda_max"]
    assert row["mean"] == pytest.approx(drawn["lambda_max"].mean(), rel=1e-12)
    assert row["standard_error"] == pytest.approx(drawn["lambda_max"].std(ddof=1) / math.sqrt(6), rel=1e-12)
    found = theory.predict(setting.wide(), "lambda_max")
    assert row["predicted"] == found.evaluate(**{s: {"M": 32.0, "T": 4.0}[s] for s in found.symbols})
    assert row["ratio"] == row["mean"] / row["predicted"]
    assert (row["T"], row["networks"], row["relation"], row["status"]) == (4, 6, "equals", "done")
    orders = theory.numeric_order_parameters(setting.wide())
    for layer in range(3):
        row = rows["tanh", 1.5, 32, f"hq2[{layer}]"]
        assert row["mean"] == pytest.approx(drawn["hq2"][:, layer].mean(), rel=1e-12)
        assert row["predicted"] == orders.hq2[layer]


def test_kappas_are_not_compared_across_conventions_of_width() -> None:
    """Measured ones take the last hidden layer for M: half of it would look like a theory wrong by a factor of 2."""
    assert sweep.prediction(Setting("relu", samples=4), 32, "kappa1")["value"] > 0
    halved = Setting("relu", samples=4, ratios=(1.0, 1.0, 0.5))
    for quantity in ("kappa1", "kappa2"):
        found = sweep.prediction(halved, 32, quantity)
        assert "value" not in found
        assert "last ratio 1" in found["reason"]


def test_a_sweep_that_was_stopped_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points, whole, halves = grid(tmp_path), Store(tmp_path / "whole"), Store(tmp_path / "halves")
    sweep.run(points, whole, None)
    told: list[Point] = []
    sweep.run(points, halves, None, lambda: len(told) >= 3, lambda point, _: told.append(point))
    assert sweep.missing(points, halves) == points[3:]
    calls = []
    measure = numerics.measure
    monkeypatch.setattr(numerics, "measure", lambda *args: calls.append(args) or measure(*args))
    sweep.run(sweep.missing(points, halves), halves, None)
    assert len(calls) == len(points) - 3, "one call a point here, and none for what was there"
    assert contents(halves.folder) == contents(whole.folder)


def test_a_failing_point_is_kept_and_the_rest_goes_on(tmp_path: Path) -> None:
    text = GRID.replace("samples = 4", 'samples = 4\nlast = ["none", "layer"]').replace('["relu", "tanh"]', '"relu"')
    points, store = grid(tmp_path, text), Store(tmp_path / "store")
    well: list[bool] = []
    sweep.run(points, store, None, finished=lambda _, good: well.append(good))
    assert sorted(well) == [False] * 4 + [True] * 4
    failed = [row for row in table.rows(store) if row["last"] == "layer"]
    assert {row["status"] for row in failed} == {"failed"}
    assert all("C >= 3" in row["error"] and row["mean"] is None for row in failed)
    assert {row["status"] for row in table.rows(store) if row["last"] == "none"} == {"done"}
    assert len(sweep.missing(points, store)) == 4, "they are tried again"


def test_a_machine_error_is_kept_until_the_point_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points, store = grid(tmp_path)[:2], Store(tmp_path / "store")
    measure = numerics.measure

    def poor(network, *args):
        if network.widths[0] == 32:
            raise MemoryError("no room")
        return measure(network, *args)

    monkeypatch.setattr(numerics, "measure", poor)
    sweep.run(points, store, None)
    assert {(r["width"], r["status"], r["error"]) for r in table.rows(store)} == {
        (16, "done", None),
        (32, "failed", "MemoryError: no room"),
    }
    monkeypatch.setattr(numerics, "measure", measure)
    sweep.run(sweep.missing(points, store), store, None)
    assert {(r["width"], r["status"]) for r in table.rows(store)} == {(16, "done"), (32, "done")}


def test_draws_that_are_not_finite_are_told(tmp_path: Path) -> None:
    text = GRID.replace("[1.5, 2]", "1e200").replace('["relu", "tanh"]', '"relu"')
    store = Store(tmp_path / "store")
    sweep.run(grid(tmp_path, text), store, None)
    rows = [row for row in table.rows(store) if row["quantity"] == "lambda_max"]
    assert [(row["status"], row["error"]) for row in rows] == [("not finite", "6 draws are not finite")] * 2
    assert not any(math.isfinite(row["mean"]) for row in rows)
    assert sweep.not_finite(grid(tmp_path, text), store) == 2
    assert sweep.not_finite(grid(tmp_path, GRID), store) == 0  # none of them is in the store
    (tmp_path / "grid.toml").write_text(text)
    assert CliRunner().invoke(app, ["sweep", str(tmp_path / "grid.toml"), "--store", str(store.folder)]).exit_code == 1


def test_draws_in_a_store_are_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, setting = Store(tmp_path), Setting("relu", samples=4)
    first = Draws(setting, ["m", "hq1"], store=store)
    first.take("main", {16: 5})
    was = first.take("main", {16: 200, 32: 3})
    monkeypatch.setattr(numerics, "measure", None)
    again = Draws(setting, ["hq1", "m"], store=store)
    again.take("main", {16: 5})
    now = again.take("main", {16: 200, 32: 3})
    assert all(np.array_equal(was[w][q], now[w][q]) for w in (16, 32) for q in ("m", "hq1"))
    for other in (
        lambda: Draws(setting, ["m"], store=store).take("main", {16: 5}),
        lambda: Draws(setting, ["m", "hq1"], store=store, seed_block=1).take("main", {16: 5}),
        lambda: Draws(setting, ["m", "hq1"], store=store, dtype="float32").take("main", {16: 5}),
        lambda: Draws(setting, ["m", "hq1"], store=store).take("confirm", {16: 5}),
        lambda: Draws(replace(setting, samples=5), ["m", "hq1"], store=store).take("main", {16: 5}),
    ):
        with pytest.raises(TypeError, match="not callable"):
            other()


def test_draws_with_other_seeds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    Draws(Setting("relu", samples=4), ["m"], store=store).take("main", {16: 2})
    monkeypatch.setattr(Setting, "seed", lambda *_: 7)
    with pytest.raises(StoreError, match="other seeds"):
        Draws(Setting("relu", samples=4), ["m"], store=store).take("main", {16: 2})


def test_tables_read_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    sweep.run(grid(tmp_path, GRID.replace("[1.5, 2]", "[1.5, -1]")), store, None)
    rows = table.rows(store)
    assert {row["status"] for row in rows} == {"done", "failed"}
    table.write_csv(tmp_path / "t.csv", rows)
    with (tmp_path / "t.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [None if r["mean"] == "" else float(r["mean"]) for r in read] == [row["mean"] for row in rows]
    assert [r["error"] for r in read] == [row["error"] or "" for row in rows]
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra table")
    table.write_parquet(tmp_path / "t.parquet", rows)
    assert parquet.read_table(tmp_path / "t.parquet").to_pylist() == rows


SCRIPT = """
import sys
from pathlib import Path
from fimcheck.verify.sweep import sweep
from fimcheck.verify.sweep.grid import load
from fimcheck.verify.draws.store import Store
sweep.run(load(Path(sys.argv[1])), Store(sys.argv[2]), None)
"""
MANY = GRID.replace("[1.5, 2]", "[0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5]")


def test_a_sweep_that_was_killed_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    points, whole, killed = grid(tmp_path, MANY), Store(tmp_path / "whole"), Store(tmp_path / "killed")
    words = [sys.executable, "-c", SCRIPT, str(tmp_path / "grid.toml"), str(killed.folder)]
    process = subprocess.Popen(words)
    deadline = time.time() + 120
    while len(list(killed.folder.glob("*.json"))) < 17 and time.time() < deadline:
        time.sleep(0.002)
    process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL, "it was killed before its end"
    missing = sweep.missing(points, killed)
    assert 0 < len(missing) < len(points)
    sweep.run(missing, killed, None)
    sweep.run(points, whole, None)
    assert table.rows(killed) == table.rows(whole)
    assert {name for name in contents(killed.folder) if name.endswith(".json")} == set(contents(whole.folder))


@pytest.mark.slow
def test_a_sweep_on_dask_survives_a_worker_and_ends_the_same(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs the extra dask")
    from fimcheck.verify.draws.dask import DaskPool

    points, here, abroad = grid(tmp_path, MANY), Store(tmp_path / "here"), Store(tmp_path / "abroad")
    sweep.run(points, here, None)
    victims = []

    def strike(_: Point, well: bool) -> None:
        assert well
        if not victims:
            victims.extend(multiprocessing.active_children())
            victims[0].kill()

    with DaskPool(None, 2, "cpu") as pool:
        sweep.run(points, abroad, pool, finished=strike)
    assert len(victims) == 2
    assert victims[0].exitcode == -signal.SIGKILL
    assert contents(abroad.folder) == contents(here.folder)


def test_overlaps_beyond_float64_are_no_prediction() -> None:
    """Their squares overflow first, and 1 / inf would be a wrong 0."""
    found = sweep.prediction(Setting("relu", sigma_w2=1e160, samples=4), 64, "kappa1")
    assert "exceeds float64" in found["reason"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("widths = {widths}\nsetting = {{samples = 5, sigma_w2 = {many}}}", "4000000 points, at most 100000"),
        ("widths = [8]\nsetting = {{samples = {deep}}}", "recursion"),
        ("widths = {long}\nsetting = {{samples = 5}}", "bytes, at most"),
    ],
)
def test_a_grid_is_counted_before_it_is_made(tmp_path: Path, text: str, told: str) -> None:
    parts = {
        "widths": list(range(1, 2001)),
        "many": [0.5 + i / 1000 for i in range(2000)],
        "deep": "[" * 5000 + "]" * 5000,
        "long": list(range(200_000)),
    }
    file = tmp_path / "grid.toml"
    file.write_text('networks = 3\nquantities = ["m"]\n' + text.format(**parts))
    with pytest.raises(GridError, match=told):
        load(file)
