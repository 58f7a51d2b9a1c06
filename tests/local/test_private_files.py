"""Files that only their owner may read."""

import stat
from pathlib import Path

from local import private_files


def test_a_file_is_replaced_whole_and_stays_private(tmp_path: Path) -> None:
    """A new content takes the old one's place, with mode 0600 and nothing left beside it."""
    path = tmp_path / "new" / "key.pem"
    private_files.write(path, b"one, and longer")
    path.chmod(0o644)
    private_files.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
