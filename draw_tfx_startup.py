"""At the start of Python: pipeline/kubeflow serves TFX's command as the Kubeflow handler that TFX itself cannot import.

`tfx --engine=kubeflow` imports tfx.tools.cli.handler.kubeflow_handler, which needs a module that TFX 1.16 removed. A
.pth file beside this one calls `install` in every process of the environment; so this imports nothing until that one
module is asked for. Where TFX's own can be imported, it is what one gets.
"""

import sys

SERVED = "tfx.tools.cli.handler.kubeflow_handler"
# Not `pipeline.kubeflow`: the user may have a package `pipeline` of their own.
ALIAS = "_draw_tfx_kubeflow"


class _Finder:
    """On sys.meta_path: knows one module."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != SERVED:
            return None
        import importlib.util

        return importlib.util.spec_from_loader(name, _Loader)


class _Loader:
    """Makes that module of TFX's handler, or else of ours."""

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        import importlib.machinery
        import importlib.util
        import os

        theirs = importlib.machinery.PathFinder.find_spec(SERVED, sys.modules[SERVED.rpartition(".")[0]].__path__)
        try:
            theirs.loader.exec_module(module)
            return
        except ImportError:
            pass
        folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pipeline", "kubeflow")
        ours = importlib.util.spec_from_file_location(
            ALIAS, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )
        sys.modules[ALIAS] = importlib.util.module_from_spec(ours)
        ours.loader.exec_module(sys.modules[ALIAS])
        module.KubeflowHandler = importlib.import_module(ALIAS + ".handler").KubeflowHandler


def install():
    """Idempotent."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
