"""Which SavedModels are refused because they would do more than compute."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import node_def_pb2, op_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow.python.client import pywrap_tf_session

from serving import pretrained
from serving.server import graph_ops, version_loader
from serving.server.servable import Servable
from serving.server.status_error import StatusError
from tests.serving import tiny_servable

Body = Callable[[tf.Tensor], tf.Tensor]


def _save(body: Body, folder: pathlib.Path, **attributes: object) -> pathlib.Path:
    """Exports a model with this function of a float32 [n]."""
    module = tf.Module()
    for name, value in attributes.items():
        setattr(module, name, value)
    module.call = tf.function(body, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    tf.saved_model.save(module, str(folder / "1"), signatures={"serving_default": module.call})
    return folder / "1"


def _load(path: pathlib.Path, *, allow_unsafe_ops: bool = False) -> Servable:
    return version_loader.load_version("m", 1, path, lambda _: None, allow_unsafe_ops=allow_unsafe_ops, max_rows=9)


def _then(effect: Callable[[], object]) -> Body:
    def body(x: tf.Tensor) -> tf.Tensor:
        effect()
        return x + 1

    return body


def _in_a_branch(x: tf.Tensor) -> tf.Tensor:
    return tf.cond(tf.size(x) > 2, lambda: tf.strings.length(tf.io.read_file("/etc/hostname")), lambda: 0) + 0


def _in_a_data_set(x: tf.Tensor) -> tf.Tensor:
    lines = tf.data.TextLineDataset("/etc/hostname").reduce(0, lambda count, _: count + 1)
    return x + tf.cast(lines, tf.float32)


_NAMES = {"prefix": "/x", "tensor_names": ["y"], "shape_and_slices": [""]}
_UNSAFE: dict[str, tuple[Body, str]] = {
    "reads a file": (lambda x: tf.strings.length(tf.io.read_file("/etc/hostname")) + tf.cast(x, tf.int32), "ReadFile"),
    "in a branch": (_in_a_branch, "ReadFile"),
    "in a data set": (_in_a_data_set, ".*TextLineDataset"),
    "writes a file": (_then(lambda: tf.io.write_file("/tmp/no-such-folder/x", "x")), "WriteFile"),
    "lists files": (_then(lambda: tf.io.matching_files("/etc/*")), "MatchingFiles"),
    "calls Python": (lambda x: tf.ensure_shape(tf.py_function(lambda y: y, [x], tf.float32), [None]), "EagerPyFunc"),
    "calls NumPy": (lambda x: tf.ensure_shape(tf.numpy_function(lambda y: y, [x], tf.float32), [None]), "PyFunc"),
    "reads a checkpoint": (
        lambda x: x + tf.raw_ops.RestoreV2(**_NAMES, dtypes=[tf.float32])[0],
        "RestoreV2",
    ),
    "writes a checkpoint": (
        _then(lambda: tf.raw_ops.SaveV2(**_NAMES, tensors=[1.0])),
        "SaveV2",
    ),
    "prints to a file": (_then(lambda: tf.print("x", output_stream="file:///tmp/no-such-folder/x")), "PrintV2"),
    "calls another host": (
        lambda x: x + tf.raw_ops.CollectiveGather(input=x, group_size=2, group_key=1, instance_key=1, shape=[2])[0],
        "CollectiveGather",
    ),
    "ends the process": (_then(lambda: tf.raw_ops.Abort(error_msg="x")), "Abort"),
}


@pytest.mark.parametrize("case", _UNSAFE)
def test_an_operation_that_does_more_than_compute_is_named_and_refused(case: str, tmp_path: pathlib.Path) -> None:
    body, names = _UNSAFE[case]
    path = _save(body, tmp_path)
    with pytest.raises(StatusError, match=rf"^{path} has operations that do more than compute: {names}\. ") as refused:
        _load(path)
    assert refused.value.code == grpc.StatusCode.PERMISSION_DENIED
    assert "--allow_unsafe_ops" in refused.value.message


def test_a_model_that_is_trusted_may_read_files(tmp_path: pathlib.Path) -> None:
    content = tmp_path / "content"
    content.write_text("abc")
    path = _save(lambda x: x + tf.cast(tf.strings.length(tf.io.read_file(str(content))), tf.float32), tmp_path)
    signature = _load(path, allow_unsafe_ops=True).signatures["serving_default"]
    (output,) = signature.run({"x": np.zeros(2, np.float32)}).values()
    assert output.tolist() == [3, 3]


def test_a_table_of_a_file_is_refused_and_one_of_the_graph_is_not(tmp_path: pathlib.Path) -> None:
    vocabulary = tmp_path / "vocabulary"
    vocabulary.write_text("a\nb\n")
    line = tf.lookup.TextFileIndex
    of_file = tf.lookup.TextFileInitializer(str(vocabulary), tf.string, line.WHOLE_LINE, tf.int64, line.LINE_NUMBER)
    of_graph = tf.lookup.KeyValueTensorInitializer(tf.constant([1, 2], tf.int64), tf.constant([3.0, 4.0]))
    table = tf.lookup.StaticHashTable(of_graph, 0.0)
    (tmp_path / "good").mkdir()
    good = _save(lambda x: table.lookup(tf.cast(x, tf.int64)), tmp_path / "good", table=table)
    (output,) = _load(good).signatures["serving_default"].run({"x": np.array([2], np.float32)}).values()
    assert output.tolist() == [4]
    words = tf.lookup.StaticHashTable(of_file, -1)
    bad = _save(lambda x: words.lookup(tf.strings.as_string(tf.cast(x, tf.int32))), tmp_path, table=words)
    with pytest.raises(StatusError, match="InitializeTableFromTextFileV2"):
        _load(bad)


def test_a_model_of_tensorflow_1_restores_itself_and_so_is_refused(tmp_path: pathlib.Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        weight = tf.compat.v1.get_variable("w", [], use_resource=True)
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": x * weight})
    with pytest.raises(StatusError, match="RestoreV2, SaveV2"):
        _load(tmp_path / "1")


def _edit(path: pathlib.Path, change: Callable[[meta_graph_pb2.MetaGraphDef], None]) -> None:
    file = path / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(saved.meta_graphs[0])
    file.write_bytes(saved.SerializeToString())


def test_a_signature_cannot_pass_for_the_saver(tmp_path: pathlib.Path) -> None:
    path = _save(_then(lambda: tf.io.write_file(str(tmp_path / "written"), "x")), tmp_path)

    def disguise(graph: meta_graph_pb2.MetaGraphDef) -> None:
        graph.saver_def.restore_op_name = graph.signature_def["serving_default"].outputs["output_0"].name.split(":")[0]

    _edit(path, disguise)
    with pytest.raises(StatusError):
        _load(path)
    assert not (tmp_path / "written").exists()


def test_what_is_loaded_is_what_was_checked(tmp_path: pathlib.Path) -> None:
    """A second graph, and the other files that TensorFlow would take for one, are not looked at."""
    path = _save(lambda x: x + 1, tmp_path)
    other = _save(lambda x: x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), x.dtype), tmp_path / "o")
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    hidden = saved_model_pb2.SavedModel.FromString((other / "saved_model.pb").read_bytes()).meta_graphs[0]
    saved.meta_graphs.append(hidden)
    (path / "saved_model.pb").write_bytes(saved.SerializeToString())
    (path / "saved_model.cpb").write_bytes((other / "saved_model.pb").read_bytes())
    (output,) = _load(path).signatures["serving_default"].run({"x": np.zeros(2, np.float32)}).values()
    assert output.tolist() == [1, 1]


@pytest.mark.parametrize("name", pretrained.names())
def test_the_pretrained_models_only_compute(name: str) -> None:
    (path,) = [path for path in pretrained.find(name).iterdir() if path.name.isdigit()]
    graph = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0]
    assert graph_ops.unsafe_ops(graph) == ["MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"]
    graph_ops.drop_saver(graph)
    assert graph_ops.unsafe_ops(graph) == []


def test_ordinary_things_are_safe(tmp_path: pathlib.Path) -> None:
    def body(x: tf.Tensor) -> tf.Tensor:
        tf.print("x", x)
        tf.debugging.assert_all_finite(x, "x")
        y = tf.map_fn(lambda value: value * 2, x) + tf.random.stateless_uniform([], (1, 2))
        y += tf.nn.relu(tf.linalg.norm(x)) + tf.abs(tf.signal.rfft(x))[0]
        return tf.while_loop(lambda i, _: i < 3, lambda i, z: (i + 1, z + 1), (0, y))[1]

    assert set(_load(_save(body, tmp_path)).signatures) == {"serving_default"}
    tiny_servable.save(tmp_path / "tiny", 1, 0.5)
    assert "double" in _load(tmp_path / "tiny" / "1").signatures


def test_of_all_operations_none_that_names_a_file_or_a_host_is_safe() -> None:
    """Whatever TensorFlow has registered, in whichever version."""
    buffer = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    names = [op.name for op in op_def_pb2.OpList.FromString(buffer).op]
    safe = {name for name in names if not graph_ops.unsafe_ops(_graph_of(name))}
    outward = re.compile(
        r"File|PyFunc|Rpc|Record|Dataset$|Iterator|Debug[^G]|Summary(Writer|Db)|Write|Save|Restore|Checkpoint|Collective"
        r"|Nccl|_?(Send|Recv)$|Remote|DataService|LMDB|Sql|SnapshotD|Vocab|Abort|Tpu|TPU|Proto"
    )
    assert sorted(name for name in safe if outward.search(name)) == [
        name for name in sorted(safe) if name.startswith("TensorArray") and "Write" in name
    ]
    assert {"MatMul", "While", "StatefulPartitionedCall", "DecodePng", "ParseExampleV2", "Assert"} <= safe
    assert len(safe) > 800


def _graph_of(op: str) -> meta_graph_pb2.MetaGraphDef:
    graph = meta_graph_pb2.MetaGraphDef()
    graph.graph_def.node.append(node_def_pb2.NodeDef(name="x", op=op))
    return graph
