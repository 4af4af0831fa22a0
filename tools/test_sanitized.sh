#!/usr/bin/env bash
# The unit tests on a debug build under AddressSanitizer and UndefinedBehaviorSanitizer. The
# interpreter is not built with them, so their library has to be loaded before it.
set -euo pipefail
cd "$(dirname "$0")/.."
make --no-print-directory build .venv/test

rm -rf build/sanitized
flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
MERKQL_DEBUG=1 CFLAGS=$flags LDFLAGS=$flags .venv/bin/python setup.py -q build \
    --build-temp build/sanitized/temp --build-lib build/sanitized/lib

# The interpreter's own allocator would hide overruns; its leaks at exit are not ours to judge.
export PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=$PWD/build/sanitized/lib
LD_PRELOAD=$(cc -print-file-name=libasan.so) .venv/bin/python -m pytest -q -p no:cacheprovider \
    "${@:-tests/unit}"
