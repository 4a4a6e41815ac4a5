"""search, status, stop and finalists as a user types them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from acmix_nas.arch import Arch
from acmix_nas.search import load

UNIT = Path(__file__).parent.parent / "unit"
QUICK = ["--epochs", "1", "--proxy-images", "20", "--proxy", "cpu", "--device", "cpu"]


@pytest.fixture
def acmix(monkeypatch, tmp_path, capsys):
    """Runs the command in an empty folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACMIX_OUT", raising=False)
    monkeypatch.delenv("ACMIX_STORAGE", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> tuple[int, str, str]:
        from acmix_nas.cli import main

        monkeypatch.setattr(sys, "argv", ["acmix", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def studies(monkeypatch, tmp_path):
    """Makes finished studies without training: name -> study."""
    monkeypatch.syspath_prepend(str(UNIT))
    from search_pieces import Curves, run, setting_of
    from study_pieces import SPACE, new_study

    from acmix_nas.space.stored import definition

    def make(name: str, trials: int, **settings):
        study = new_study(tmp_path / "reports", name, space=definition(SPACE), **settings)
        run(study, Curves(setting_of(1)), trials=trials)
        study.optuna.set_user_attr("goal", trials)
        return study

    return make


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            "search",
            "--objectives --max-macs --max-params --max-latency-ms --latency-table --warm-start --hours --gpus "
            "--workers-per-gpu --executor --workers --storage --prune --sampler --order",
        ),
        ("finalists", "--top --seeds --gpus --workers --executor"),
        ("status", "--reports --json"),
        ("stop", "--reports --wait"),
    ],
)
def test_help_names_the_options(acmix, command, options):
    code, out, _ = acmix(command, "--help")
    assert code == 0
    assert all(option in out for option in options.split())
    assert all(name in acmix("--help")[1] for name in ("status", "stop", "finalists"))


def test_status_fits_a_telephone(acmix, studies, tmp_path):
    assert acmix("status")[1] == "no study in reports yet\n"
    studies("swin_t-001", 3)
    studies("a-name-that-is-longer-than-any-screen-would-like", 2)
    code, out, _ = acmix("status")
    assert code == 0
    assert all(len(line) <= 40 for line in out.splitlines())
    assert "swin_t-001        done        3/3" in out
    code, out, _ = acmix("status", "swin_t-001")
    assert all(len(line) <= 40 for line in out.splitlines())
    assert "trials  3 of 3" in out
    told = json.loads(acmix("status", "swin_t-001", "--json")[1])
    assert (told["state"], told["counts"]) == ("done", {"complete": 3})
    assert acmix("status", "nothing")[0] == 1


def test_status_of_a_study_at_work(acmix, studies, tmp_path):
    from acmix_nas.study.folder import at_work

    study = studies("busy", 2)
    study.optuna.set_user_attr("goal", 9)
    assert "stopped" in acmix("status", "busy")[1]
    facts = {"left_s": 3000, "trials": [{"number": 2, "label": "tpe", "epoch": 1, "epochs": 20}]}
    (study.folder / "running.json").write_text(json.dumps(facts))
    with at_work(study.folder):
        out = acmix("status", "busy")[1]
        assert "state   running" in out
        assert "now     trial 2, epoch 1 of 20" in out
        assert "left    about 50 min" in out
        assert "trials  2 of 9" in out
        code, _, err = acmix("stop", "busy")
        assert code == 0
        assert "stops after its current epoch" in err
        assert (study.folder / "stop").is_file()


def test_a_study_that_cannot_be_read_hides_no_other(acmix, studies):
    studies("good", 1)
    for name, content in (("a-torn", b"no database" * 100), ("z-empty", b"")):
        Path("reports", name).mkdir()
        Path("reports", name, "study.db").write_bytes(content)
    code, out, err = acmix("status")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["a-torn", "unknown"],
        ["good", "done"],
        ["z-empty", "unknown"],
    ]
    assert all(len(line) <= 40 for line in out.splitlines())
    assert "a-torn cannot be read: " in err
    told = json.loads(acmix("status", "--json")[1])
    assert [(item["name"], item["state"], item["error"] is None) for item in told] == [
        ("a-torn", "unknown", False),
        ("good", "done", True),
        ("z-empty", "unknown", False),
    ]
    assert acmix("status", "a-torn")[0] == 1


def test_there_may_be_nothing_to_stop(acmix, studies):
    study = studies("idle", 1)
    code, out, _ = acmix("stop", "idle")
    assert code == 0
    assert "no process is working" in out
    assert not (study.folder / "stop").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--objectives", "macs"], "top1"),
        (["--objectives", "top1,latency_ms"], "--latency-table"),
        (["--max-latency-ms", "5"], "--latency-table"),
        (["--max-macs", "much"], "e.g. 5G"),
        (["--max-macs", "-1G"], "e.g. 5G"),
        (["--gpus", "none", "--device", "cuda"], "--gpus none"),
        (["--prune", "asha", *QUICK], "--prune asha"),
        (["--executor", "abacus"], "abacus"),
        (["--sampler", "no_such_lab.samplers:Mine", *QUICK], "no_such_lab"),
        (["--storage", "nowhere", *QUICK], "--storage is the URL"),
        (["--executor", "serial", "--workers", "2", *QUICK], "one worker"),
        (["--executor", "serial", "--trial-minutes", "3", *QUICK], "--executor process"),
    ],
)
def test_a_mistake_is_one_message(acmix, words, said):
    code, _, err = acmix("search", "--space", "swin_t", "--trials", "1", *words)
    assert code == 2
    assert said in " ".join(err.split())
    assert "Traceback" not in err
    assert not Path("reports").exists()  # refused before a study is made


@pytest.mark.slow
@pytest.mark.usefixtures("on_few_images")
def test_a_search_with_limits_and_its_finalists(acmix, tmp_path):
    line = ["search", "--space", "swin_t", "--trials", "3", "--max-params", "28.3M", "--study", "s", *QUICK]
    code, out, err = acmix(*line, "--objectives", "top1,params,macs")
    assert code == 0, err
    assert "paper is left out: params 28.65M above 28.3M" in err
    assert "objectives: top1 and params and macs, params at most 28.3M" in err
    assert "proxy unvalidated" in err
    begun = err.index("scores are read on 20 search images: the standard error of an accuracy is up to 11.2 points")
    assert begun < err.index("written to")
    assert "± s.e." in out
    rows = [json.loads(text) for text in Path("reports/s/trials.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == ["plain host", "random", "random"]
    assert all(row["cost"]["params"] <= 28.3e6 for row in rows)
    assert set(load(Path("reports/s"))[0].settings["reference"]) == {"top1", "params", "macs"}
    assert "Hypervolume of the front against trials" in Path("reports/s/report.md").read_text()

    code, _, err = acmix(*line[: -len(QUICK)], "--resume", "--objectives", "top1,macs")
    assert code == 1
    assert "objectives" in err

    code, out, err = acmix("finalists", "s", "--top", "1", "--seeds", "1", "--device", "cpu")
    assert code == 0, err
    finals = [json.loads(text) for text in Path("reports/s/finals.jsonl").read_text().splitlines()]
    assert {row["split"] for row in finals} == {"report"}
    assert {row["seeds"]["init"] for row in finals} == {1}
    assert "scores are read on 8 report images" in err
    assert "plain host" in out
    assert "best of 2 random" in out
    assert "selection bias" in out.lower()
    named = {text for row in finals for text in row["label"].split(", ")}
    assert named == {"finalist 1", "plain host", "paper", "best of 2 random"}

    before = Path("reports/s/finals.jsonl").read_text()
    code, out, err = acmix("finalists", "s", "--top", "1", "--seeds", "2", "--device", "cpu")
    assert code == 0, err
    after = Path("reports/s/finals.jsonl").read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == 2 * len(before.splitlines())
    code, _, err = acmix("finalists", "s", "--top", "2", "--device", "cpu")
    assert code == 1
    assert "fixed with --top 1" in err

    import yaml

    best = yaml.safe_load(Path("reports/s/best.yaml").read_text())
    assert (best["score"]["split"], best["score"]["seeds"]) == ("report", 2)
    means = {}
    for text in after.splitlines():
        row = json.loads(text)
        means.setdefault(row["arch_id"], []).append(row["scores"][-1])
    assert best["arch_id"] == max(means, key=lambda name: sum(means[name]))
    assert Arch.from_dict(best["arch"]).id == best["arch_id"]
    assert acmix("report", "s")[0] == 0
    assert yaml.safe_load(Path("reports/s/best.yaml").read_text()) == best


@pytest.mark.slow
@pytest.mark.usefixtures("on_few_images")
def test_a_warm_start_says_what_it_brought(acmix, tmp_path):
    code, _, err = acmix("search", "--space", "swin_t", "--trials", "2", "--study", "old", *QUICK)
    assert code == 0, err
    words = ["search", "--space", "swin_t", "--trials", "1", "--study", "new", "--warm-start", "old", *QUICK]
    code, out, err = acmix(*words, "--order", "free", "--json")
    assert code == 0, err
    assert "free order" in err
    assert "2 trials of old are copied" in err
    told = json.loads(out)
    assert [trial.get("origin") for trial in told["trials"]] == ["old:0", "old:1", None]
    code, _, err = acmix("search", "--space", "swin_t", "--study", "new", "--resume", "--order", "fixed")
    assert code == 1
    assert 'order = "free", now it is "fixed"' in err
    code, _, err = acmix("search", "--space", "swin_t", "--trials", "1", "--study", "other", "--warm-start", "old",
                         "--epochs", "1", "--proxy-images", "30", "--proxy", "cpu")  # fmt: skip
    assert code == 0, err
    assert "0 trials of old are copied; 2 left: budget.images is 20 there and 30 here" in err


@pytest.mark.slow
@pytest.mark.usefixtures("on_few_images")
def test_a_database_url_and_its_password(acmix, tmp_path):
    url = f"sqlite:///{tmp_path / 'all.db'}"
    code, _, err = acmix("search", "--space", "swin_t", "--trials", "1", "--study", "far", "--storage", url, *QUICK)
    assert code == 0, err
    assert not Path("reports/far/study.db").exists()
    assert acmix("report", "far", "--storage", url)[0] == 0
    assert "trials  1 of 1" in acmix("status", "far", "--storage", url)[1]
    secret = "postgresql+nodriver://me:s3cret@host/db"
    code, out, err = acmix("search", "--space", "swin_t", "--trials", "1", "--study", "x", "--storage", secret, *QUICK)
    assert code == 1
    assert "s3cret" not in out + err


def test_every_sampler_can_be_chosen():
    from acmix_nas.cli.search import search
    from acmix_nas.search import SAMPLERS

    (option,) = (parameter for parameter in search.params if parameter.name == "sampler")
    assert tuple(option.type.choices) == SAMPLERS  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        (["status"], ()),
        (["status", "demo"], ()),
        (["stop", "demo"], ()),
        (["report", "demo", "--format", "csv"], ("optuna", "sqlalchemy", "alembic", "scipy")),
    ],
)
def test_looking_at_a_study_loads_no_torch(acmix, studies, words, unneeded):
    """A report of few trials loads neither Optuna nor SciPy: half of its time."""
    studies("demo", 2)
    code = (
        "import sys\n"
        "from acmix_nas.cli import acmix\n"
        f"acmix.main({words!r}, standalone_mode=False)\n"
        f"unneeded = ('torch', 'timm', 'acmix_nas.train', 'acmix_nas.data', *{unneeded})\n"
        "print([name for name in unneeded if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert len(done.stdout.splitlines()) > 1


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("sampler", "gp", "'gp' is not one of"),
        ("sampler", "that_lab.samplers:Mine", None),
        ("executor", "threads", "'threads' is not one of"),
        ("executor", "that_lab.executor", None),
    ],
)
def test_one_of_ones_own_is_named_by_its_dotted_path(option, value, said, monkeypatch):
    import click

    from acmix_nas import plugins
    from acmix_nas.cli.search import search

    monkeypatch.setattr(plugins, "_allowed", set())
    words = ["--space", "swin_t", f"--{option}", value]
    if said:
        with pytest.raises(click.BadParameter, match=said):
            search.make_context("search", words)
    else:
        assert search.make_context("search", words).params[option] == value
        assert plugins.allowed() == (value.partition(":")[0],)
