"""Holds a wheel to the repository: every tracked file of the packages, and no other but its own records."""

import subprocess
import sys
import zipfile

INSIDE_INTERP = ("experiments/", "benchmarks/", "configs/")
"""An installed copy has one name: these folders of the repository lie in `interp`."""


def missing_and_more(wheel: str) -> list[str]:
    """What the wheel lacks, and what it has besides."""
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    listed = ["git", "ls-files", "interp", "saes", *INSIDE_INTERP]
    tracked = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    expected = {f"interp/{name}" if name.startswith(INSIDE_INTERP) else name for name in tracked}
    return [
        *(f"the wheel lacks {name}" for name in sorted(expected - packed)),
        *(f"the wheel has {name}, which is not in the repository" for name in sorted(packed - expected)),
    ]


if __name__ == "__main__":
    found = missing_and_more(sys.argv[1])
    print("\n".join(found) or "the wheel has every file")
    sys.exit(bool(found))
