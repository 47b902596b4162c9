"""What a later file or option leaves of an earlier one: nothing of a list, a class or a model file."""

import json
from functools import cache
from pathlib import Path

import pytest
import yaml
from sweeps.grid import Grid, trials

from lit_retrieval.cli import main, read_configuration
from lit_retrieval.tasks.__main__ import main as tasks_main

CONFIGS = Path(__file__).parents[2] / "configs"
TASKS, MIXERS, TRAINING = (f"lit_retrieval.{room}" for room in ("tasks", "mixers", "training"))
SOLVED, PLATEAU = f"{TRAINING}.SolvedStopping", f"{TRAINING}.PlateauStopping"
RETRIEVER = "lit_retrieval.retrieval.RegularExpressionRetriever"
LOGGERS = "lightning.pytorch.loggers"
CSV = f"{LOGGERS}.CSVLogger"


def spec(class_path, **init_args):
    return {"class_path": class_path, "init_args": init_args} if init_args else {"class_path": class_path}


BASE = {
    "seed_everything": 3,
    "data": {
        "task": spec(f"{TASKS}.Index", max_size=8, num_words=4, query_form="full"),
        "retriever": spec(RETRIEVER, timeout=0.5, max_length=7),
        "sizes": {8: 2, 4: 1},
        "val_samples": 9,
    },
    "model": {
        "hidden_size": 16,
        "stages": [
            {"repeat": 5, "mixers": [spec(f"{MIXERS}.Mamba", state_dim=7, expand=3), spec(f"{MIXERS}.SwiGLU")]},
            {"repeat": 2, "mixers": [spec(f"{MIXERS}.Attention", num_heads=2)]},
        ],
        "construction": spec("lit_retrieval.constructions.Theorem46", problem="index", precision="float32"),
        "embedding": "learned",
        "warmup_samples": 77,
    },
    "trainer": {
        "callbacks": [spec(SOLVED, validations=7), spec(PLATEAU, patience=4)],
        "logger": [spec(CSV, save_dir="there", flush_logs_every_n_steps=3)],
        "max_steps": 5,
    },
}
# Other lists and classes, some with arguments that those below have too, and the same classes named again.
REPLACED = {
    "other classes": {
        "model.stages": [{"mixers": [spec(f"{MIXERS}.LinearRNN")]}, {"mixers": [spec(f"{MIXERS}.SwiGLU")]}],
        "model.construction": spec("lit_retrieval.constructions.Theorem52", problem="counting"),
        "data.task": spec(f"{TASKS}.NGramRetrieval", max_size=16),
        "data.retriever": "lit_retrieval.retrieval.ShortFormRetriever",
        "data.sizes": [4],
        "trainer.callbacks": [spec(PLATEAU), spec(SOLVED)],
        "trainer.logger": [spec(f"{LOGGERS}.TensorBoardLogger", save_dir="here")],
    },
    "the same classes": {
        "model.stages": [{"mixers": [spec(f"{MIXERS}.Mamba", expand=2), spec(f"{MIXERS}.SwiGLU")]}],
        "model.construction": spec("lit_retrieval.constructions.Theorem46", problem="counting"),
        "data.task": spec(f"{TASKS}.Index", max_size=4),
        "data.retriever": spec(RETRIEVER, max_length=3),
        "data.sizes": {4: 3},
        "trainer.callbacks": [spec(SOLVED), spec(PLATEAU, patience=2)],
        "trainer.logger": [spec(CSV, save_dir="here")],
    },
    "names of classes": {
        "model.stages": [{"mixers": [f"{MIXERS}.Mamba"]}, {"mixers": [f"{MIXERS}.Attention"]}],
        "data.task": f"{TASKS}.Index",
        "data.retriever": RETRIEVER,
        "trainer.callbacks": [SOLVED],
        "trainer.logger": spec(CSV, save_dir="here"),
    },
}
MERGED = {  # arguments of classes that the layer below has named
    "data.task.init_args.max_size": 16,
    "data.retriever.init_args.max_length": 3,
    "model.construction.init_args.problem": "counting",
    "model.hidden_size": 32,
    "trainer.max_steps": 6,
}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])


def nested(values):
    content = {}
    for key, value in values.items():
        part = content
        for name in key.split(".")[:-1]:
            part = part.setdefault(name, {})
        part[key.split(".")[-1]] = value
    return content


def write(content, name):
    Path(name).write_text(yaml.safe_dump(content, sort_keys=False))
    return name


def text(value):
    return value if isinstance(value, str) else json.dumps(value)


def on_the_command_line(base, values):
    options = [word for key, value in values.items() for word in (f"--{key}", text(value))]
    return read_configuration(["fit", "--config", base, *options])


def with_equals_signs(base, values):
    return read_configuration(["fit", "--config", base, *(f"--{key}={text(value)}" for key, value in values.items())])


def in_a_second_config(base, values):
    return read_configuration(["fit", "--config", base, "--config", write(nested(values), "second.yaml")])


def in_parts(base, values):
    return on_the_command_line(base, nested(values))


def in_a_grid_point(base, values):
    (trial,) = trials(Grid(base, points={"one": values}), Path())
    return trial.configuration


WAYS = [on_the_command_line, with_equals_signs, in_a_second_config, in_parts, in_a_grid_point]


def value_at(configuration, key):
    for name in key.split("."):
        configuration = configuration[name]
    return configuration


def without(keys):
    """The file below, without some keys."""
    content = json.loads(json.dumps(BASE))
    for part, name in (key.split(".") for key in ("data.sizes", *keys)):
        content[part].pop(name, None)
    return content


@cache
def alone_with(kind):
    return in_a_second_config(write(without(REPLACED[kind]), "alone.yaml"), REPLACED[kind])


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", REPLACED)
def test_a_list_or_a_class_is_what_it_would_be_with_nothing_below_it(way, kind):
    values = REPLACED[kind]
    over = way(write(BASE, "base.yaml"), values)
    alone = alone_with(kind)
    for key in values:
        assert value_at(over, key) == value_at(alone, key), key
    assert over["model"]["warmup_samples"] == 77 and over["data"]["val_samples"] == 9, "the other keys stay"


@pytest.mark.parametrize("way", [way for way in WAYS if way is not in_parts], ids=lambda way: way.__name__)
def test_an_argument_changes_itself_alone(way):
    before = read_configuration(["fit", "--config", write(BASE, "base.yaml")])
    after = way("base.yaml", MERGED)
    for key, value in MERGED.items():
        part, name = key.rsplit(".", 1)
        assert value_at(after, key) == value != value_at(before, key)
        value_at(after, part)[name] = value_at(before, part)[name]
    for section in ("data", "model", "trainer"):
        assert without_seeds(after[section]) == without_seeds(before[section])


def without_seeds(section):
    return {key: value for key, value in section.items() if key != "seed"}


@pytest.mark.parametrize("option", ["--data.task.init_args.max_size", "--data.task.max_size"])
def test_an_argument_has_a_short_name_on_the_command_line(option):
    task = read_configuration(["fit", "--config", write(BASE, "base.yaml"), option, "16"])["data"]["task"]
    assert task["init_args"]["max_size"] == 16 and task["init_args"]["num_words"] == 4


@pytest.mark.parametrize("way", [on_the_command_line, in_a_second_config], ids=lambda way: way.__name__)
def test_a_plus_appends(way):
    changed = way(write(BASE, "base.yaml"), {"trainer.callbacks+": [spec(SOLVED, validations=2)]})
    assert [one["init_args"].get("validations") for one in changed["trainer"]["callbacks"]] == [7, None, 2]


@pytest.mark.parametrize("value", ["{callbacks+: []}", "trainer.yaml"])
def test_a_plus_in_a_part_is_refused_since_it_would_replace_the_list(value, capsys):
    write({"callbacks+": [spec(SOLVED)]}, "trainer.yaml")
    with pytest.raises(SystemExit):
        main(["fit", "--config", write(BASE, "base.yaml"), "--trainer", value])
    assert "error: trainer.callbacks+ must be an option, --trainer.callbacks+, or stand" in capsys.readouterr().err


def test_a_list_within_a_class_is_replaced_too():
    base = {"data": {"task": spec(f"{TASKS}.Mixture", tasks=[spec(f"{TASKS}.Index", num_words=4, max_size=8)])}}
    tasks = {"data.task.init_args.tasks": [spec(f"{TASKS}.Index", max_size=4)]}
    alone = {"data.task": spec(f"{TASKS}.Mixture", tasks=tasks["data.task.init_args.tasks"])}
    after = on_the_command_line(write(base, "base.yaml"), tasks)
    assert after["data"] == on_the_command_line(write({}, "empty.yaml"), alone)["data"]


def test_the_last_one_of_several_layers_counts():
    write(BASE, "base.yaml")
    write({"model": {"stages": [{"repeat": 3, "mixers": [spec(f"{MIXERS}.LSTM", state_dim=2)]}]}}, "second.yaml")
    values = {"data.task": f"{TASKS}.IsTree", "model.stages": [{"mixers": [f"{MIXERS}.GRU"]}], "data.task.max_size": 8}
    options = [word for key, value in values.items() for word in (f"--{key}", text(value))]
    after = read_configuration(["fit", "--config", "base.yaml", "-c", "second.yaml", *options])
    assert after["model"]["stages"] == [{"mixers": [spec(f"{MIXERS}.GRU", state_dim=None)], "repeat": 1}]
    assert after["data"]["task"]["init_args"]["max_size"] == 8


def naming_a_model_file(name, *more):
    return {
        "--model FILE": ["--config", "base.yaml", "--model", name, *more],
        "--model=FILE": ["--config", "base.yaml", f"--model={name}", *more],
        "a second --config": ["--config", "base.yaml", "--config", write({"model": name}, "second.yaml"), *more],
    }


@pytest.mark.parametrize("way", ["--model FILE", "--model=FILE", "a second --config"])
def test_a_model_file_keeps_nothing_of_the_model_below_it(way, name="hybrid_tiny"):
    write(BASE, "base.yaml")
    write({**BASE, "model": {}}, "empty.yaml")
    file = str(CONFIGS / f"model/{name}.yaml")
    after = read_configuration(["fit", *naming_a_model_file(file, "--model.norm", "none")[way]])
    alone = read_configuration(["fit", "--config", "empty.yaml", "--model", file, "--model.norm", "none"])
    assert after["model"] == alone["model"] and after["model"]["warmup_samples"] != 77
    assert after["data"] == alone["data"], "the other parts stay"


def test_a_model_file_of_a_grid_point_keeps_nothing_and_its_other_keys_count():
    file = str(CONFIGS / "model/hybrid_tiny.yaml")
    (trial,) = trials(Grid(write(BASE, "base.yaml"), points={"one": {"model.norm": "none", "model": file}}), Path())
    alone = read_configuration(["fit", "--data.task", f"{TASKS}.Index", "--model", file, "--model.norm", "none"])
    assert trial.configuration["model"] == alone["model"]


def test_the_gla_of_the_readme_is_the_gla_of_its_table():
    arguments = ["--model", str(CONFIGS / "model/gla_0.5M.yaml")]
    attention = "{mixers: [{class_path: lit_retrieval.mixers.Attention}, {class_path: lit_retrieval.mixers.SwiGLU}]}"
    with_attention = [*arguments, "--model.stages+", attention]
    recall, istree = (str(CONFIGS / f"experiments/{name}.yaml") for name in ("recall", "istree"))
    trained = read_configuration(["fit", "--config", recall, *with_attention])["model"]
    table = read_configuration(["fit", "--config", istree, *arguments])["model"]
    assert len(trained["stages"]) == 2
    assert {**trained, "stages": trained["stages"][:1]} == table


def test_a_trainer_file_changes_only_its_own_keys():
    trainer = read_configuration(
        ["fit", "--config", write(BASE, "base.yaml"), "--trainer", str(CONFIGS / "trainer/ddp.yaml")]
    )["trainer"]
    assert (trainer["strategy"], trainer["max_steps"], len(trainer["callbacks"])) == ("ddp", 5, 2)


@pytest.mark.parametrize("options", [["--task", "IsTree"], ["--task.max_size", "6"]], ids=" ".join)
def test_the_tasks_command_replaces_too(options, capsys):
    write({"task": spec(f"{TASKS}.IsTree", max_size=4), "sizes": [6]}, "task.yaml")
    tasks_main(["show", "--config", "task.yaml", "--samples", "1", *options])
    assert "<s>" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "line", "key"),
    [
        ("model: {}\ntrainer: {}\nmodel: {}\n", 3, "model"),
        ("trainer:\n  max_steps: 2\n  max_steps: 3\n", 3, "max_steps"),
        ("data:\n  sizes: {8: 1, 4: 2, 8: 3}\n", 2, "8"),
        ("model:\n  stages:\n    - mixers: []\n      repeat: 1\n      mixers: []\n", 5, "mixers"),
        ("data:\n  task: {class_path: X, init_args: {a: 1, a: 2}}\n", 2, "a"),
    ],
)
@pytest.mark.parametrize("place", ["config", "second config", "part", "part of a config", "grid"])
def test_a_key_that_is_listed_twice_is_named_with_its_file_and_line(content, line, key, place, capsys):
    Path("twice.yaml").write_text(content)
    write(BASE, "base.yaml")
    write({"model": "twice.yaml"}, "experiment.yaml")
    arguments = {
        "config": ["--config", "twice.yaml"],
        "second config": ["--config", "base.yaml", "--config=twice.yaml"],
        "part": ["--config", "base.yaml", "--model", "twice.yaml"],
        "part of a config": ["--config", "experiment.yaml"],
        "grid": None,
    }[place]
    said = f"twice.yaml, line {line}: the key {key} is listed twice; keep one of them"
    if arguments is None:
        from sweeps.grid import read_grid

        with pytest.raises(ValueError, match=said):
            read_grid(Path("twice.yaml"))
        return
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *arguments])
    assert stopped.value.code == 2 and said in capsys.readouterr().err


def test_a_key_that_is_listed_twice_in_an_option_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--config", write(BASE, "base.yaml"), "--model.stages", "[{repeat: 1, mixers: [], repeat: 2}]"])
    assert "error: --model.stages, line 1: the key repeat is listed twice" in capsys.readouterr().err


def test_a_file_of_a_class_is_read_too(capsys):
    Path("task.yaml").write_text("class_path: IsTree\nclass_path: Index\n")
    with pytest.raises(SystemExit):
        main(["fit", "--config", write({"data": {"task": "task.yaml"}}, "base.yaml")])
    assert "task.yaml, line 2: the key class_path is listed twice" in capsys.readouterr().err
