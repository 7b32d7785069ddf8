"""Removes the objects of 0 bytes that stand for folders in a bucket, which KFP's launcher takes for files.

Where one is called `.../model/`, the next stage ends with "mkdir .../model: not a directory"
(kubeflow/pipelines#13476). The launcher's own uploads make none; workers that write to the bucket themselves do.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def remove(addresses: Sequence[str]) -> None:
    """Removes those below the addresses, which are at gs://; says where that fails, for the stage itself did not."""
    from google.api_core.exceptions import GoogleAPIError, NotFound
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import storage  # type: ignore[import-untyped]

    try:
        client = storage.Client()
        for address in addresses:
            bucket, _, prefix = address.removeprefix("gs://").partition("/")
            for blob in client.list_blobs(bucket, prefix=f"{prefix.rstrip('/')}/"):
                if blob.name.endswith("/") and not blob.size:
                    try:
                        blob.delete()
                    except NotFound:
                        continue
    except (GoogleAPIError, GoogleAuthError, OSError) as error:
        print(
            f"warning: objects of 0 bytes whose names end with / could not be removed below {', '.join(addresses)}: "
            f"{error}",
            file=sys.stderr,
        )
