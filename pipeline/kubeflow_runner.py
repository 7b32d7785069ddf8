"""The pipeline on Kubeflow: the file that `tfx pipeline create --engine=kubeflow` is given.

It is `draw compile` without arguments: settings come from the environment variables that `draw compile --help`
lists. What a run may override is a runtime parameter, with the setting as its default.
"""

from pipeline.cli.compile_command import compile_pipeline

if __name__ == "__main__":
    compile_pipeline(args=(), prog_name="kubeflow_runner.py")
