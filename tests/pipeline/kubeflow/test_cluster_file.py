"""A cluster's file is read strictly: what is wrong in it is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.kubeflow.cluster_file import read
from pipeline.kubeflow.stage_resources import Accelerator, Retries, Stage

TPU = "accelerator: {resource: google.com/tpu, count: 4}"
SELECTOR = "{cloud.google.com/gke-tpu-accelerator: tpu-v5-lite-podslice, cloud.google.com/gke-tpu-topology: 2x2}"


def _file(tmp_path: Path, text: str) -> Path:
    (tmp_path / "cluster.yaml").write_text(text)
    return tmp_path / "cluster.yaml"


def test_a_stage_has_its_own_over_the_default(tmp_path: Path) -> None:
    cluster = read(
        _file(
            tmp_path,
            "image: draw:1\n"
            "default: {cpu: 2, memory_gb: 8, retries: {count: 2}, tolerations: [{key: spot}]}\n"
            f"stages: {{Trainer: {{memory_gb: 1.5, {TPU}, node_selector: {SELECTOR}, tolerations: []}}}}\n",
        )
    )
    assert cluster.stage("Pusher") == cluster.default
    trainer = cluster.stage("Trainer")
    assert (trainer.cpu, trainer.memory_gb, trainer.retries) == (2.0, 1.5, Retries(count=2))
    assert trainer.accelerator == Accelerator(resource="google.com/tpu", count=4)
    # Given, and empty: so it does not tolerate what others do.
    assert trainer.tolerations == ()


def test_an_image_given_beside_the_file_comes_first(tmp_path: Path) -> None:
    assert read(_file(tmp_path, "image: draw:1"), image="draw:2").image == "draw:2"
    assert read(None, image="draw:2").stage("Trainer") == Stage()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cluster.yaml: image is missing"),
        ("image: ''", "image is ''; expected text that is not empty"),
        ("image: [draw", "cluster.yaml is no YAML: line 1, column 13: .*expected ',' or ']'"),
        ("- image", r"cluster.yaml: the file is \['image'\]; expected a mapping"),
        ("{image: i, imagee: j}", "cluster.yaml: imagee is unknown; expected image, image_pull_secrets"),
        ("{image: i, default: {cpu: two}}", "default.cpu is 'two'; expected a number"),
        ("{image: i, default: {cpu: true}}", "default.cpu is True; expected a number"),
        ("{image: i, default: {memory_gb: 0}}", "default.memory_gb is 0; expected greater than 0"),
        ("{image: i, env: {1: A}}", r"env\[1\] \(the key\) is 1; expected text \(in quotes\)"),
        ("{image: i, caching: 1, secrets: s}", "caching is 1; expected true or false; secrets is 's'; expected a list"),
        ("{image: i, stages: {cpu: {cpuu: 1}}}", "stages.cpu.cpuu is unknown; expected cpu, memory_gb, accelerator"),
        ("{image: i, default: {cpu: .inf}}", "default.cpu is inf; expected a finite number"),
        (
            "{image: i, default: {retries: {count: 1, max_backoff_seconds: 900}}}",
            "default.retries: max_backoff_seconds is not the longest wait: .* give_up_after_hours: 72",
        ),
        ("{image: i, default: {retries: {count: 1, factor: 1.5}}}", "retries.factor is 1.5; expected a whole number"),
        (
            "{image: i, default: {retries: {count: 1, give_up_after_hours: 0}}}",
            "give_up_after_hours is 0; expected greater than 0",
        ),
        ("{image: i, volumes: [{claim: a.b, path: /a}]}", r"volumes\[0\].claim: 'a.b' would also name the volume"),
        ("{image: i, secrets: [{name: a.b, path: /a}]}", r"secrets\[0\]: 'a.b' would also name the volume"),
        (f"{{image: i, volumes: [{{claim: {64 * 'a'}, path: /a}}]}}", "at most 63 small letters"),
        ("{image: i, secrets: [{name: A_b, env: {A: a}}]}", r"secrets\[0\].name: 'A_b' is no name of a Kubernetes"),
        ("{image: i, image_pull_secrets: [a/b]}", r"image_pull_secrets\[0\]: 'a/b' is no name of a Kubernetes"),
        (
            "{image: i, volumes: [{claim: a, path: /a}], secrets: [{name: a, path: /b}]}",
            "cluster.yaml: a is both a secret with a path and a volume's claim",
        ),
        (
            "{image: i, volumes: [{claim: a, path: /a}], secrets: [{name: b, path: /a/}]}",
            "/a is the path of two mounts",
        ),
        (
            "{image: i, default: !!python/object/apply:os.getcwd []}",
            "cluster.yaml is no YAML: line 1, column 21: could not determine",
        ),
        ("{image: i, env: {A: 1}}", r"env.A is 1; expected text \(in quotes\)"),
        ("{image: i, stages: {Trainer: {accelerator: {resource: nvidia.com/gpu}}}}", "accelerator.count is missing"),
        ("{image: i, default: {accelerator: {resource: gpu, count: 1}}}", "resource is 'gpu': give Kubernetes' name"),
        (f"{{image: i, stages: {{Trainer: {{{TPU}}}}}}}", "node_selector lacks cloud.google.com/gke-tpu-accelerator"),
        ("{image: i, secrets: [{name: s}]}", r"secrets\[0\]: secret 's': give either env or path"),
        ("{image: i, volumes: [{claim: c, path: data}]}", r"volumes\[0\].path: 'data' is not absolute"),
        (
            "{image: i, default: {tolerations: [{operator: Is}]}}",
            r"default.tolerations\[0\].operator is 'Is'; expected '', 'Exists' or 'Equal'",
        ),
        (
            "{image: i, default: {retries: {count: -1}}}",
            "default.retries.count is -1; expected greater than or equal to 0",
        ),
        ("[]", r"cluster.yaml: the file is \[\]; expected a mapping"),
        ("image: Draw:1", "image: 'Draw:1' is no name of an image: give .* small letters"),
        ("image: registry.example.com/Team/draw:1", "is no name of an image"),
        ("image: draw 1", "is no name of an image"),
        ("{image: i, image: j}", "cluster.yaml is no YAML: line 1, column 12: the key 'image' is there twice"),
        ("{image: i, env: {A: a, A: b}}", "the key 'A' is there twice"),
        ("{image: i, fail_refused: yes please}", "fail_refused is 'yes please'; expected true or false"),
        ("{image: i, caching: 'no'}", "caching is 'no'; expected true or false"),
        ("{image: i, default: {node_selector: {a b: c}}}", r"node_selector.a b \(the key\): 'a b' is no label"),
        ("{image: i, default: {node_selector: {a: c_}}}", "node_selector.a: 'c_' is no label of Kubernetes"),
        ("{image: i, default: {tolerations: [{key: a/b/c}]}}", r"tolerations\[0\].key: 'a/b/c' is no label"),
        ("{image: i, default: {accelerator: {resource: nvidia.com/ gpu, count: 1}}}", "give Kubernetes' name of it"),
        ("{image: i, env: {A=B: c}}", r"env.A=B \(the key\): 'A=B' is no name of a variable"),
        ("{image: i, env: {'': c}}", "'' is no name of a variable"),
        ("{image: i, secrets: [{name: s, env: {1A: a}}]}", "'1A' is no name of a variable"),
        ("{image: i, volumes: [{claim: c, path: /}]}", r"volumes\[0\].path: '/' is no place for a mount"),
        ("{image: i, volumes: [{claim: c, path: 'C:/a:ro'}]}", "is not absolute"),
        ("{image: i, volumes: [{claim: c, path: '/a:ro'}]}", "'/a:ro' is no place for a mount: it must have no colon"),
        ("{image: i, volumes: [{claim: c, path: /s3}]}", "'/s3' is no place for a mount: .* what Kubeflow Pipelines"),
        ("{image: i, secrets: [{name: s, path: /gcs/keys}]}", "'/gcs/keys' is no place for a mount"),
        (
            "{image: i, default: {tolerations: [{key: a, operator: Exists, value: b}]}}",
            r"default.tolerations\[0\]: operator Exists tolerates any value: leave out",
        ),
        ("{image: i, default: {tolerations: [{value: b}]}}", "a value is that of a key"),
        ("{image: i, default: {retries: {count: 100000000000}}}", "count is 100000000000; expected less than or equal"),
        (
            "{image: i, default: {retries: {count: 1, backoff_seconds: 100000}}}",
            "expected less than or equal to 86400",
        ),
        (
            "{image: i, default: {retries: {count: 1, give_up_after_hours: 1.0e+12}}}",
            "give_up_after_hours is 1000000000000.0; expected less than or equal to 87600",
        ),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(_file(tmp_path, text))


@pytest.mark.parametrize(
    "image",
    [
        "draw",
        "draw-tfx:0.2.0",
        "Registry.Example.com:5000/team/draw_tfx:V1.0",
        "localhost/draw",
        "[::1]:5000/draw:1",
        "ghcr.io/a/b/c@sha256:" + 64 * "0",
    ],
)
def test_what_a_container_runtime_takes_is_an_image(image: str) -> None:
    assert read(None, image=image).image == image


def test_a_dot_is_in_the_way_only_where_a_volume_has_the_name(tmp_path: Path) -> None:
    text = "{image: i, image_pull_secrets: [a.b], secrets: [{name: a.b, env: {A: a}}], "
    claims = "volumes: [{claim: c, path: /a}, {claim: c, path: /b}]}"
    assert read(_file(tmp_path, text + claims)).secrets[0].name == "a.b"


@pytest.mark.parametrize(
    ("toleration", "fields"),
    [
        # As Kubernetes has it, whose default is Equal: a pod with Exists and a value is invalid.
        ("{key: dedicated, value: ml}", {"key": "dedicated", "operator": "Equal", "value": "ml"}),
        ("{key: gpu, effect: NoSchedule}", {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}),
        ("{key: gpu, operator: Equal}", {"key": "gpu", "operator": "Equal"}),
        ("{}", {"operator": "Exists"}),
    ],
)
def test_a_toleration_is_one_that_kubernetes_takes(tmp_path: Path, toleration: str, fields: dict[str, str]) -> None:
    stage = read(_file(tmp_path, f"{{image: i, default: {{tolerations: [{toleration}]}}}}")).default
    assert stage.node_fields()["tolerations"] == [fields]


def test_a_message_about_a_large_file_is_short(tmp_path: Path) -> None:
    bomb = "image: i\na0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(30))
    long = f"image: i\n{9000 * 'k'}: 1\n"
    values = f"{{image: i, default: {{cpu: {9000 * 'v'}}}}}"
    many = "image: i\n" + "".join(f"key{n}: 1\n" for n in range(2000))
    for text in (bomb, long, values, many, 3000 * "["):
        with pytest.raises(ValueError, match=r"cluster\.yaml") as error:
            read(_file(tmp_path, text))
        assert len(str(error.value)) < 3000


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Cannot read the cluster's file .*none.yaml: No such file"):
        read(tmp_path / "none.yaml")


def test_an_alias_repeats_a_section(tmp_path: Path) -> None:
    cluster = read(_file(tmp_path, "{image: i, stages: {Trainer: &large {cpu: 8}, SplitScorer: *large}}"))
    assert cluster.stage("SplitScorer") == cluster.stage("Trainer") == Stage(cpu=8)


def test_a_volume_holds_what_lies_below_its_path(tmp_path: Path) -> None:
    cluster = read(_file(tmp_path, "{image: i, volumes: [{claim: other, path: /mnt}, {claim: c, path: /data}]}"))
    for path, mounted in {
        "/data": True,
        "/data/tfds": True,
        "/mnt/a": True,
        "/data2": False,
        "/data/../a": False,
        "/": False,
    }.items():
        assert cluster.mounts(path) is mounted, path
