"""At the start of Python: pipeline/kubeflow serves TFX's command as the Kubeflow handler that TFX itself cannot import.

`tfx --engine=kubeflow` imports tfx.tools.cli.handler.kubeflow_handler, which needs a module that TFX 1.16 removed. A
.pth file beside this one calls `install` in every process of the environment; so this imports nothing until that one
module is asked for, and stands back in a TFX that has what its handler needs.
"""

import sys

SERVED = "tfx.tools.cli.handler.kubeflow_handler"
# What TFX's own handler imports, and TFX no longer has.
NEEDED = "tfx.orchestration.kubeflow.kubeflow_dag_runner"
# Not `pipeline.kubeflow`: the user may have a package `pipeline` of their own.
ALIAS = "_draw_tfx_kubeflow"


class _Finder:
    """On sys.meta_path: knows one module."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != SERVED:
            return None
        import importlib.util

        if importlib.util.find_spec(NEEDED) is not None:
            return None
        return importlib.util.spec_from_loader(name, _Loader)


class _Loader:
    """Makes that module of our handler."""

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        import importlib.util
        import os

        folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pipeline", "kubeflow")
        spec = importlib.util.spec_from_file_location(
            ALIAS, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )
        sys.modules[ALIAS] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[ALIAS])
        module.KubeflowHandler = importlib.import_module(ALIAS + ".handler").KubeflowHandler


def install():
    """Idempotent."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
