"""The local pipeline: the file that `tfx pipeline create --engine=local` is given.

It is `draw run` without arguments: settings come from the environment variables that `draw run --help` lists. The
tfx command remembers nothing but the path of this file, so the same variables belong before `tfx pipeline create` and
`tfx run create`.
"""

from pipeline.cli.run_command import run

if __name__ == "__main__":
    run(args=(), prog_name="local_runner.py")
