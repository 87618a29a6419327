"""Experiments: a finished run is kept, never computed twice and never lost, whatever happens."""

import json
import signal
import statistics
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest
import torch
from laboratory import NEVER, Laboratory, config, ended

import tra_mini
from tra_mini import MECHANISMS, experiments, grids, recipes, results, starts
from tra_mini.evaluation import accuracy_by_length
from tra_mini.experiments import run_experiment, sequences, stored
from tra_mini.grids import EXPERIMENTS
from tra_mini.starts import model_path, trained
from tra_mini.tasks import flip_flop

SLOW = config(seed=1, steps=500)
FAILING = config("no such mechanism")


class TestGrids:
    def test_recipe(self):
        """TRA alone, at the training length and no other, on seeds that are reported nowhere."""
        reported = {one["seed"] for one in EXPERIMENTS["flip_flop"]}
        for one in EXPERIMENTS["recipe"]:
            assert one["mechanism"] == "tra"
            assert one["testing"]["lengths"] == [one["length"]]
            assert one["testing"]["splits"] == {"in_distribution": one["p_ignore"]}
            assert one["steps"] * one["batch"] == 16000
            assert one["seed"] not in reported

    def test_the_recipe_in_use_is_the_one_of_lowest_loss(self):
        """Of the recipes tried, by the worst seed's loss at the training length."""
        losses = {}
        for run in stored("recipe"):
            recipe = tuple(run["config"][name] for name in grids.RECIPES[0])
            losses.setdefault(recipe, []).append(run["rows"][0]["loss"])
        assert len(losses) == len(grids.RECIPES)
        best = min(losses, key=lambda recipe: max(losses[recipe]))
        assert best == tuple(recipes.TRAINING[name] for name in grids.RECIPES[0])

    def test_registers_longer_has_the_recipe_of_lowest_loss(self):
        """Of those tried, by the median seed's loss at the training length; on other seeds."""
        losses = {}
        for run in stored("registers_recipe"):
            config = run["config"]
            assert config["testing"]["lengths"] == [config["length"]]
            assert config["seed"] not in grids.SEEDS
            recipe = tuple(config[name] for name in grids.REGISTERS_RECIPES[0])
            losses.setdefault(recipe, []).append(run["rows"][0]["loss"])
        assert len(losses) == len(grids.REGISTERS_RECIPES)
        best = min(losses, key=lambda recipe: statistics.median(losses[recipe]))
        assert best == tuple(grids.REGISTERS_RECIPES[1].values())

    def test_headline(self):
        """TRA and its main rivals, three seeds each."""
        grid = {(one["mechanism"], one["seed"]) for one in EXPERIMENTS["headline"]}
        assert len(EXPERIMENTS["headline"]) == 12
        assert grid == {(m, s) for m in ("tra", "fox", "alibi", "rope") for s in range(5, 8)}

    def test_flip_flop(self):
        """All but TRA's variants, five seeds, the strongest three; up to 64 times the length."""
        seeds = {name: 5 for name in MECHANISMS if not name.startswith("tra_")}
        seeds |= dict.fromkeys(("ssmax", "entmax", "stick_breaking", "lstm"), 3)
        grid = {(one["mechanism"], one["seed"]) for one in EXPERIMENTS["flip_flop"]}
        assert len(EXPERIMENTS["flip_flop"]) == len(grid)
        assert grid == {(name, 5 + i) for name, number in seeds.items() for i in range(number)}
        for one in EXPERIMENTS["flip_flop"]:
            assert one["testing"]["lengths"] == [64 * 2**power for power in range(7)]
            assert one["testing"]["splits"] == {
                "in_distribution": one["p_ignore"],
                "sparse": 0.98,
                "dense": 0.1,
            }

    def test_tasks(self):
        """Six tasks, ten mechanisms, three seeds, one recipe a task, 1 to 16 times its length."""
        grid = EXPERIMENTS["tasks"]
        cells = {(one["task"], one["mechanism"], one["seed"]) for one in grid}
        assert len(grid) == len(cells) == 6 * 10 * 3
        assert {seed for _, _, seed in cells} == {5, 6, 7}
        recipes = {json.dumps({**one, "mechanism": 0, "seed": 0}) for one in grid}
        assert len(recipes) == 6  # nothing but mechanism and seed differs within a task
        for one in grid:
            lengths = one["testing"]["lengths"]
            items = 2 if one["task"] == "max_retrieval" else 0  # the question and the answer
            factors = [(length - items) // (lengths[0] - items) for length in lengths]
            assert factors[:5] == [1, 2, 4, 8, 16] and lengths[0] == one["length"]

    def test_what_might_help_changes_one_thing(self):
        """The mechanism or a setting of a task's recipe; in registers_longer the recipe."""
        recipe = {one["task"]: one for one in EXPERIMENTS["tasks"] if one["mechanism"] == "tra"}
        for one in EXPERIMENTS["remedies"]:
            base = recipe[one["task"]]
            changed = {name for name in one if one[name] != base[name]} - {"testing", "seed"}
            [(label, settings)] = one["testing"]["splits"].items()
            assert settings == one["settings"]
            if label == "copy, unique symbols":  # other symbols are another vocabulary too
                assert changed == {"settings", "vocab_size"}
            else:
                assert len(changed) == 1 and changed < {"mechanism", "n_layer"}
        longer = EXPERIMENTS["registers_longer"]
        cells = {(one["mechanism"], one["seed"]) for one in longer}
        names = ("tra", "contextual_only", "fox", "stick_breaking", "lstm")
        assert cells == {(name, seed) for name in names for seed in (5, 6, 7)}
        assert len(longer) == len(cells)
        base = recipe["registers"] | grids.REGISTERS_RECIPES[1] | {"starts": 3, "learned": 1e-3}
        for one in longer:
            assert {name for name in one if one[name] != base[name]} <= {"mechanism", "seed"}

    def test_flip_flop_variants(self):
        """The recipe of the flip-flops, the same five seeds, other mechanisms."""
        recipes = {
            json.dumps({**one, "mechanism": 0, "seed": 0})
            for one in EXPERIMENTS["flip_flop_variants"] + EXPERIMENTS["headline"]
        }
        assert len(recipes) == 1
        assert {(one["mechanism"], one["seed"]) for one in EXPERIMENTS["flip_flop_variants"]} == {
            (f"tra_{name}", seed)
            for name in ("beside_local", "low_threshold", "annealed")
            for seed in range(5, 10)
        }

    def test_language(self):
        """Every mechanism but the variants with a seed; those of the headline with three."""
        published = {name for name in MECHANISMS if not name.startswith("tra_")}
        cells = [(one["mechanism"], one["seed"]) for one in EXPERIMENTS["language"]]
        headline = {(name, seed) for name in ("tra", "fox", "alibi", "rope") for seed in (6, 7)}
        assert set(cells) == {(name, 5) for name in published} | headline
        assert len(cells) == len(set(cells))
        recipes = {
            json.dumps({**one, "mechanism": 0, "seed": 0}) for one in EXPERIMENTS["language"]
        }
        assert len(recipes) == 1  # equally many tokens for all

    def test_language_tried_changes_one_thing_at_a_time(self):
        """But for the longer trainings, of which each is named so."""
        base = next(one for one in EXPERIMENTS["language"] if one["mechanism"] == "tra")
        for one in EXPERIMENTS["language_tried"]:
            changed = {name for name in one if one[name] != base.get(name)} - {"testing", "seed"}
            [label] = one["testing"]["splits"]
            assert ("steps" in changed) == label.startswith("three times the steps")
            assert len(changed - {"steps"}) <= 1 and changed
        again = {(one["mechanism"], one["seed"]) for one in EXPERIMENTS["language_tried"]}
        names = ("tra_beside_local", "tra_low_threshold", "tra_annealed")
        assert {(name, seed) for name in names for seed in (5, 6, 7)} < again

    def test_flip_flop_long(self):
        """TRA alone, five seeds, each split a run of its own, up to 65,536 tokens."""
        grid = [
            (one["mechanism"], one["seed"], *one["testing"]["splits"].values())
            for one in EXPERIMENTS["flip_flop_long"]
        ]
        assert len(grid) == 20
        assert set(grid) == {("tra", s, p) for s in range(5, 10) for p in (0.8, 0.98, 0.1, 0.999)}
        for one in EXPERIMENTS["flip_flop_long"]:
            assert one["testing"]["lengths"] == [16384, 65536]

    @pytest.mark.parametrize(
        ("name", "times"), [("flip_flop_far", 4096), ("flip_flop_million", 16384)]
    )
    def test_one_sequence(self, name, times):
        """Three of those seeds at 4,096 and at 16,384 times the training length."""
        grid = [(one["seed"], *one["testing"]["splits"].items()) for one in EXPERIMENTS[name]]
        splits = (("in_distribution", 0.8), ("sparse", 0.98))
        assert sorted(grid) == [(seed, split) for seed in (5, 6, 7) for split in splits]
        for one in EXPERIMENTS[name]:
            assert one["testing"]["lengths"] == [times * one["length"]]

    def test_paper(self):
        """The authors' protocol, as their notebook gives it: four mechanisms, three seeds."""
        assert len(EXPERIMENTS["paper"]) == 12
        for one in EXPERIMENTS["paper"]:
            shape = [one[name] for name in ("n_layer", "n_head", "d_model", "length", "batch")]
            assert shape == [4, 4, 256, 512, 64]
            assert (one["steps"], one["learning_rate"], one["warmup"]) == (25000, 1e-4, 0)
            testing = one["testing"]
            assert sequences(512, testing["tokens"], testing["at_most"]) == 4000

    @pytest.mark.parametrize("name", EXPERIMENTS)
    def test_configs_differ_and_survive_json(self, name):
        """Runs are found again by their config, so no two are equal and JSON changes none."""
        texts = [json.dumps(one, sort_keys=True) for one in EXPERIMENTS[name]]
        assert len(set(texts)) == len(texts)
        assert json.loads(json.dumps(EXPERIMENTS[name])) == EXPERIMENTS[name]

    def test_number_of_sequences(self):
        """As many tokens at each length, but at least one sequence and at most 512."""
        numbers = [sequences(length, 2**15) for length in (8, 64, 128, 4096, 65536)]
        assert numbers == [512, 512, 256, 8, 1]


class TestModelPath:
    @pytest.mark.parametrize("name", sorted(config().keys() - {"testing", "starts"}))
    def test_depends_on_every_training_setting(self, name):
        """A model is never taken for one that was trained otherwise."""
        given = config()[name]
        other = "rope" if name == "mechanism" else given * 2 + 1
        assert model_path(config(**{name: other})) != model_path(config())

    def test_does_not_depend_on_testing(self):
        """The same training serves other tests."""
        testing = {"splits": {"sparse": 0.98}, "lengths": [64], "tokens": 1}
        assert model_path(config(testing=testing)) == model_path(config())
        assert model_path(config(starts=3)) == model_path(config())

    @pytest.mark.parametrize("name", ["SCHEMA", "ENVIRONMENT"])
    def test_depends_on_environment_and_schema(self, monkeypatch, name):
        """Another torch gives other weights, and a raised schema trains anew."""
        before = model_path(config())
        monkeypatch.setattr(results, name, "another")
        assert model_path(config()) != before

    def test_the_order_of_settings_does_not_matter(self):
        """Equal configs share a model."""
        backwards = dict(reversed(config().items()))
        assert model_path(backwards) == model_path(config())


@pytest.fixture
def here(monkeypatch, tmp_path):
    """Lets experiments run in this process, with one thread and models in a passing folder.

    Returns the configs that were computed, in order; a run that fails is left out.
    """
    computed = []

    def one_after_the_other(function, jobs, on_result, **_):
        failures = []
        for job in reversed(jobs):  # the last in the grid finishes first
            try:
                on_result(function(job))
                computed.append(job)
            except ValueError as error:
                failures.append(error)
        return failures

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(starts, "MODELS", tmp_path / "models")
    monkeypatch.setattr(experiments, "run_all", one_after_the_other)
    yield computed
    torch.set_num_threads(threads)


class TestBookkeeping:
    """What is computed, kept and returned; the runs themselves are computed in this process."""

    GRID = (config(seed=1, steps=4), config("alibi"), config())

    @pytest.fixture(autouse=True)
    def tiny(self, here, monkeypatch, tmp_path):
        self.computed, self.folder, self.path = here, tmp_path, tmp_path / "tiny.json"
        self.be = lambda *grid: monkeypatch.setitem(EXPERIMENTS, "tiny", list(grid))
        self.be(*self.GRID)

    def configs_kept(self):
        return [run["config"] for run in results.load(self.path)["runs"]]

    def lines_kept(self):
        return {line.rstrip(",") for line in self.path.read_text().splitlines()[1:-1]}

    def test_returns_the_runs_in_the_grids_order(self):
        """Whatever finished first, and however the file is sorted."""
        runs = run_experiment("tiny", self.folder)
        assert [run["config"] for run in runs] == list(self.GRID)
        assert self.computed == list(self.GRID)[::-1]
        assert runs == stored("tiny", self.folder)

    def test_a_run_has_the_designed_form(self):
        """A row for each split and length, with all that tests, figures and notebooks read."""
        fields = {"split", "p_ignore", "length", "n", "exact_match", "low", "high", "per_read"}
        for run in run_experiment("tiny", self.folder):
            assert set(run) == {"config", "train_seconds", "started", "rows"}
            assert all(fields <= set(row) for row in run["rows"])
            assert [(row["split"], row["p_ignore"], row["length"]) for row in run["rows"]] == [
                ("in_distribution", 0.8, 8),
                ("in_distribution", 0.8, 16),
                ("dense", 0.1, 8),
                ("dense", 0.1, 16),
            ]
            assert [row["n"] for row in run["rows"]] == [32, 16, 32, 16]

    def test_a_second_call_computes_nothing(self):
        """All is in the file already: the same runs come back, and not a byte changes."""
        first, text = run_experiment("tiny", self.folder), self.path.read_text()
        self.computed.clear()
        assert run_experiment("tiny", self.folder) == first
        assert self.computed == []
        assert self.path.read_text() == text

    def test_with_nothing_to_compute_no_process_starts(self, monkeypatch):
        """Which makes the second call quick."""
        run_experiment("tiny", self.folder)
        monkeypatch.setattr(experiments, "run_all", tra_mini.parallel.run_all)
        monkeypatch.setattr(ProcessPoolExecutor, "submit", lambda *_: pytest.fail("it did"))
        assert len(run_experiment("tiny", self.folder)) == 3

    def test_a_long_test_says_what_stopping_early_took(self, monkeypatch):
        """Beyond the lengths of the other tests: seconds, shares of weights, memory."""
        monkeypatch.setattr(experiments, "LENGTHS", [8, 16])
        testing = {"splits": {"dense": 0.1}, "lengths": [32, 64], "tokens": 64}
        self.be(config("tra", testing=testing))
        [run] = run_experiment("tiny", self.folder)
        for row in run["rows"]:
            assert set(row) > {"seconds", "peak_mb", "read"}
            [layer] = row["read"]
            assert len(layer) == 2 and all(0 < share <= 2 for share in layer)
            assert row["seconds"] >= 0 and row["peak_mb"] > 50
        full = starts.trained(run["config"])
        for row in run["rows"]:
            task = partial(flip_flop, p_ignore=0.1)
            [again] = accuracy_by_length(full, task, [row["length"]], n=row["n"], seed=1000)
            assert again["exact_match"] == row["exact_match"]

    def test_more_sequences_if_the_config_allows(self):
        """at_most lifts the usual bound of 512 sequences a length."""
        testing = {"splits": {"dense": 0.1}, "lengths": [8], "tokens": 8 * 700}
        self.be(*(config(testing=testing | more) for more in ({}, {"at_most": 600})))
        numbers = [run["rows"][0]["n"] for run in run_experiment("tiny", self.folder)]
        assert numbers == [512, 600]

    def test_a_changed_configuration_is_not_mixed_in(self):
        """Only the changed run is computed; old and new stay; a grid gets its own runs alone."""
        before = run_experiment("tiny", self.folder), self.lines_kept()
        self.computed.clear()
        changed = config(seed=1, steps=5)
        self.be(changed, *self.GRID[1:])
        runs = run_experiment("tiny", self.folder)
        assert [run["config"] for run in runs] == [changed, *self.GRID[1:]]
        assert self.computed == [changed]
        assert len(self.configs_kept()) == 4
        assert before[1] < self.lines_kept()
        self.be(*self.GRID)
        assert stored("tiny", self.folder) == before[0]

    def test_other_tests_do_not_train_again(self, monkeypatch):
        """A changed testing is another run, of the same model."""
        run_experiment("tiny", self.folder)
        testing = {"splits": {"sparse": 0.98}, "lengths": [24], "tokens": 48}
        self.be(*(run | {"testing": testing} for run in self.GRID))
        monkeypatch.setattr("tra_mini.training.save", lambda *_: pytest.fail("it was trained"))
        assert [row["length"] for run in run_experiment("tiny", self.folder) for row in run["rows"]]
        assert len(self.configs_kept()) == 6

    def test_a_failing_run_does_not_lose_the_others(self):
        """The others are kept; then the message says how many failed, where the rest is, and why.

        The next call tries again what failed, and nothing else.
        """
        self.be(FAILING, *self.GRID)
        for expected in (list(self.GRID)[::-1], []):
            self.computed.clear()
            with pytest.raises(RuntimeError) as failed:
                run_experiment("tiny", self.folder)
            said = str(failed.value)
            assert said.startswith(f"1 runs failed, the others are in {self.path}: ")
            assert "mechanism is 'no such mechanism'; allowed: " in said
            assert self.computed == expected
        assert len(self.configs_kept()) == 3

    def test_a_full_disk_stops_at_once_and_what_was_kept_stays(self, monkeypatch):
        """The system's own words; the next call goes on."""
        keep = results.keep

        def until_full(path, run, here):
            if self.computed:
                raise OSError(28, "No space left on device")
            keep(path, run, here)

        with monkeypatch.context() as patched:
            patched.setattr(results, "keep", until_full)
            with pytest.raises(OSError, match="No space left on device"):
                run_experiment("tiny", self.folder)
        assert len(self.configs_kept()) == 1
        assert len(run_experiment("tiny", self.folder)) == 3

    def test_results_of_another_environment_are_set_aside(self):
        """They are not mixed with ours: all is computed anew, beside them."""
        run_experiment("tiny", self.folder)
        text = self.path.read_text().replace('"device": "cpu"', '"device": "other"')
        self.path.write_text(text)
        self.computed.clear()
        run_experiment("tiny", self.folder)
        assert len(self.computed) == 3
        assert (self.folder / "tiny.json.aside-1").read_text() == text


class TestDevices:
    """The path of the GPU's protocol, on the CPU under another name."""

    PAPER = config() | {"warmup": 0, "precision": "bfloat16"}

    def test_the_papers_settings_reach_training(self, here, monkeypatch, tmp_path):
        """bfloat16 and no warm-up give other weights than the defaults, in files of their own."""
        monkeypatch.setitem(EXPERIMENTS, "tiny", [self.PAPER, config()])
        paper, usual = run_experiment("tiny", tmp_path)
        assert paper["rows"][0]["loss"] != usual["rows"][0]["loss"]
        assert model_path(self.PAPER) != model_path(config())

    def test_a_named_device_has_results_and_models_of_its_own(self, here, monkeypatch, tmp_path):
        """cpu:0 computes as cpu does; nothing of one is taken for the other's."""
        monkeypatch.setitem(EXPERIMENTS, "tiny", [config()])
        [usual] = run_experiment("tiny", tmp_path)
        [named] = run_experiment("tiny", tmp_path, device="cpu:0")
        assert named["rows"] == usual["rows"]
        assert results.load(tmp_path / "tiny_cpu0.json")["environment"]["device"] == "cpu:0"
        assert results.load(tmp_path / "tiny.json")["environment"]["device"] == "cpu"
        assert len(list(starts.MODELS.glob("*.pt"))) == 2
        assert len(here) == 2
        assert run_experiment("tiny", tmp_path, device="cpu:0") == [named] and len(here) == 2

    @pytest.mark.parametrize("device", ["cuda:99", "abacus"])
    def test_a_device_that_does_not_exist(self, device, here, tmp_path):
        """Found out before any work, in one line."""
        with pytest.raises(ValueError, match=f"^device is '{device}', which cannot be") as refused:
            run_experiment("headline", tmp_path, device=device)
        assert "\n" not in str(refused.value)
        assert here == [] and not list(tmp_path.glob("*.json"))

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
    def test_cuda(self, here, monkeypatch, tmp_path):
        """The device's name is in the results; the loss is the CPU's but for rounding."""
        monkeypatch.setitem(EXPERIMENTS, "tiny", [config()])
        [usual] = run_experiment("tiny", tmp_path)
        [run] = run_experiment("tiny", tmp_path, device="cuda")
        name = results.load(tmp_path / "tiny_cuda.json")["environment"]["device"]
        assert name == torch.cuda.get_device_name()
        assert run["rows"][0]["loss"] == pytest.approx(usual["rows"][0]["loss"], rel=1e-3)


class TestStarts:
    def losses(self, n):
        """Of the first n starts, each by itself."""
        return [trained(config(seed=1000 * start)).loss for start in range(n)]

    @pytest.mark.parametrize("most", [1, 3])
    def test_what_does_not_learn_starts_again(self, here, most):
        """As often as allowed, from other weights; the start of lowest loss is taken."""
        model = trained(config(starts=most))
        losses = self.losses(most)
        assert model.started == most == len(set(losses))
        assert model.loss == min(losses) > starts.LEARNED

    def test_the_first_that_learns_is_taken(self, here):
        """Whatever later starts would give: only the loss at the training length is asked.

        A config may say itself what counts as learned; that makes it no other model.
        """
        first, second, _ = self.losses(3)
        model = trained(config(starts=3, learned=max(first, second)))
        assert (model.started, model.path) == (1, trained(config()).path)
        model = trained(config(starts=3, learned=min(first, second)))
        assert (model.started, model.loss) == (1 if first < second else 2, min(first, second))


class TestBadInput:
    def test_an_unknown_name(self, tmp_path):
        """The message lists the experiments there are; no file is made."""
        with pytest.raises(ValueError) as refused:
            run_experiment("no such", tmp_path / "results")
        expected = (
            "name is 'no such'; allowed: recipe, headline, flip_flop, flip_flop_long,"
            " flip_flop_far, flip_flop_million, tasks, remedies, flip_flop_variants,"
            " registers_recipe, registers_longer, language, language_tried, paper"
        )
        assert str(refused.value) == expected
        assert not (tmp_path / "results").exists()

    def test_an_unwritable_folder(self, here, tmp_path, monkeypatch):
        """Found out before any work."""
        (tmp_path / "plain file").write_text("here")
        monkeypatch.setitem(EXPERIMENTS, "tiny", [config()])
        with pytest.raises(ValueError, match=r"folder is .*plain file; allowed"):
            run_experiment("tiny", tmp_path / "plain file")
        assert here == []


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """An experiment ended by kill -9 when a run was finished, then run again to its end.

    Returns its folder, the runs kept before, what the second call printed, and its exit code.
    """
    folder = tmp_path_factory.mktemp("killed")
    laboratory = Laboratory(folder, SLOW, config(), FAILING, config("alibi"))
    process = laboratory.start(workers=2)
    laboratory.wait_for_a_run(process)
    process.kill()
    ended(process)
    laboratory.mark()
    before = laboratory.runs()
    process = laboratory.start(workers=1)
    return laboratory, before, *ended(process), process.returncode


class TestProcesses:
    def test_kill_9_loses_nothing_finished(self, killed):
        """What was finished is in the file, and stays there unchanged: it is not computed again."""
        laboratory, before, printed, _, _ = killed
        assert 1 <= len(before) < 3
        assert all(run in laboratory.runs() for run in before)
        assert printed.startswith(f"headline: {len(before)} of 4 runs are in {laboratory.results}")

    def test_the_same_call_completes_what_is_missing(self, killed):
        """All runs but the failing one, each once; nothing half-written stays beside the file."""
        laboratory, *_ = killed
        kept = [run["config"] for run in laboratory.runs()]
        assert len(kept) == 3
        assert all(expected in kept for expected in (SLOW, config(), config("alibi")))
        names = {path.name for path in laboratory.results.parent.iterdir()}
        assert names == {"headline.json", ".headline.json.lock"}

    def test_a_failing_run_is_told_last(self, killed):
        """In one line, and by the exit code."""
        laboratory, _, _, errors, code = killed
        [line] = errors.splitlines()
        assert line.startswith(f"tra_mini: 1 runs failed, the others are in {laboratory.results}: ")
        assert "no such mechanism" in line
        assert code == 1

    def test_workers_compute_what_one_process_computes(self, killed, here):
        """Every number of every row, even of a run that was killed and went on."""
        laboratory, *_ = killed
        for run in laboratory.runs():
            assert experiments.run(run["config"])["rows"] == run["rows"]

    def test_ctrl_c_stops_and_says_how_to_go_on(self, tmp_path):
        """A line names the file; finished runs are in it; neither command nor worker goes on."""
        laboratory = Laboratory(tmp_path, config(), config(seed=1, steps=NEVER))
        process = laboratory.start(workers=1)
        laboratory.wait_for_a_run(process)
        process.send_signal(signal.SIGINT)
        _, errors = ended(process)
        assert process.returncode == 1
        assert [run["config"] for run in laboratory.runs()] == [config()]
        said = f"stopped; finished runs are in {laboratory.results}, the same command goes on"
        assert errors.strip().splitlines()[0] == f"tra_mini: {said}"
        assert "Traceback" not in errors


class TestOtherTasks:
    """Runs of harder tasks and of text take the same way as those of flip-flops."""

    def test_a_harder_task(self, tmp_path, monkeypatch):
        """Its settings reach the task; a row names its split and no p_ignore."""
        monkeypatch.setattr(starts, "MODELS", tmp_path)
        settings = {"n_registers": 2, "p_ignore": 0.5}
        testing = {"splits": {"registers": settings}, "lengths": [8, 16], "tokens": 64}
        one = config("fox", length=8, shortest=6, testing=testing)
        one |= {"task": "registers", "settings": settings, "vocab_size": 8}
        done = experiments.run(one)
        assert [(row["split"], row["length"], row["n"]) for row in done["rows"]] == [
            ("registers", 8, 8),
            ("registers", 16, 4),
        ]
        assert all("p_ignore" not in row and 0 <= row["per_read"] <= 1 for row in done["rows"])
        assert experiments.run(one)["rows"] == done["rows"]

    def test_text(self, tmp_path, monkeypatch):
        """Rows in bits a byte, and with them what they depend on besides: the corpus."""
        monkeypatch.setattr(starts, "MODELS", tmp_path)
        testing = {"splits": {"text": {"split": "test"}}, "lengths": [8, 16], "tokens": 64}
        one = config("tra", length=8, testing=testing, vocab_size=256)
        one |= {"task": "stdlib_bytes", "settings": {"split": "train"}}
        done = experiments.run(one)
        assert [(row["split"], row["length"], row["n"]) for row in done["rows"]] == [
            ("text", 8, 4),
            ("text", 16, 4),
        ]
        assert all(6 < row["bits_per_byte"] < 12 for row in done["rows"])  # nothing learned: 8
        assert done["corpus"]["train_bytes"] > done["corpus"]["test_bytes"] > 0
        assert done["parameters"] > 256 * 8
        path = starts.model_path(one)
        assert path.exists()
        monkeypatch.setattr(starts, "corpus_facts", lambda: {"python": "another"})
        assert starts.model_path(one) != path  # a model of another library is another model

    def test_lengths_of_training_vary(self):
        """A batch at a time, evenly from shortest to length."""
        seen = []

        def task(batch, length, generator):
            seen.append(length)

        generator = torch.Generator().manual_seed(0)
        for _ in range(200):
            starts.of_any_length(2, 12, generator, task=task, shortest=6)
        assert set(seen) == {6, 8, 10, 12}
        assert all(20 < seen.count(length) < 80 for length in set(seen))
