"""The distribution draw-tfx-models: the pretrained models, apart from the code so that a client stays small."""

from setuptools import setup

setup(
    name="draw-tfx-models",
    version="0.2.0",
    description="Pretrained models of DRAW (arXiv:1502.04623) for draw-tfx",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=["draw_tfx_models"],
    package_dir={"draw_tfx_models": "."},
    package_data={"draw_tfx_models": ["*/README.md", "*/metrics.json", "*/1/**/*"]},
)
