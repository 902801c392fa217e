import os
import shlex
import shutil
import sys
import sysconfig

import pytest
from compilers import give_up


@pytest.fixture(scope="session")
def compiler():
    """Return the command of the C compiler, as a list of words."""
    if sys.platform == "win32":
        pytest.skip("the program guards its buffers with mmap")
    for command in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc"):
        words = shlex.split(command or "")
        if words and shutil.which(words[0]):
            return words
    return give_up("no C compiler")
