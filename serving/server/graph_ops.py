"""Which operations of a SavedModel reach beyond its own tensors: to files, the network, Python or the process.

Those of the kinds below only compute, whatever they are given; all others are refused, those of a later TensorFlow too.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from tensorflow.core.framework import node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2

_KINDS = [
    importlib.import_module(f"tensorflow.python.ops.gen_{kind}")
    for kind in (
        *("array_ops", "bitwise_ops", "composite_tensor_ops", "control_flow_ops", "count_ops", "ctc_ops"),
        *("cudnn_rnn_ops", "data_flow_ops", "functional_ops", "image_ops", "linalg_ops", "list_ops", "logging_ops"),
        *("lookup_ops", "manip_ops", "map_ops", "math_ops", "nn_ops", "optional_ops", "parsing_ops"),
        *("ragged_array_ops", "ragged_conversion_ops", "ragged_math_ops", "random_index_shuffle_ops", "random_ops"),
        *("resource_variable_ops", "rnn_ops", "set_ops", "sparse_ops", "special_math_ops", "spectral_ops"),
        *("state_ops", "stateful_random_ops", "stateless_random_ops", "stateless_random_ops_v2", "string_ops"),
        *("training_ops", "uniform_quant_ops"),
    )
]
"""TensorFlow's own modules of operations, one a kind; those for files, data sets, Python and RPC are not among them."""

_EXCEPTIONS = {
    "Abort",  # Ends the process.
    "ImmutableConst",  # Maps a file into memory.
    "InitializeTableFromTextFile",
    "InitializeTableFromTextFileV2",
    "RecordInput",  # Reads files.
    "RemoteCall",
}

_TERMINALS = {b"stderr", b"stdout", b"log(info)", b"log(warning)", b"log(error)"}


def unsafe_ops(graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """Lists the operations, of the graph and of all its functions, that do more than compute."""
    functions = {function.signature.name for function in graph.graph_def.library.function}
    return sorted({node.op for node in _nodes(graph) if node.op not in functions and not _is_safe(node)})


def drop_saver(graph: meta_graph_pb2.MetaGraphDef) -> None:
    """Removes the functions that write and read checkpoints, which every exported model has and no server calls.

    What else calls them then cannot be loaded. A model of TensorFlow 1 keeps its own, because loading runs them.
    """
    if not graph.HasField("object_graph_def"):
        return
    saver = {graph.saver_def.save_tensor_name.partition(":")[0], graph.saver_def.restore_op_name}
    dropped = {node.attr["f"].func.name for node in graph.graph_def.node if node.name in saver}
    library = graph.graph_def.library.function
    for index in reversed(range(len(library))):
        if library[index].signature.name in dropped:
            del library[index]


def _nodes(graph: meta_graph_pb2.MetaGraphDef) -> Iterator[node_def_pb2.NodeDef]:
    yield from graph.graph_def.node
    for function in graph.graph_def.library.function:
        yield from function.node_def


def _is_safe(node: node_def_pb2.NodeDef) -> bool:
    if node.op == "PrintV2" and "output_stream" in node.attr:
        return node.attr["output_stream"].s in _TERMINALS
    return node.op not in _EXCEPTIONS and any(hasattr(kind, node.op) for kind in _KINDS)
