#!/usr/bin/env bash
# The unit tests on a debug build under AddressSanitizer and UndefinedBehaviorSanitizer, or with
# SANITIZER=thread under ThreadSanitizer. The interpreter is not built with them, so their library
# has to be loaded before it; what it does itself they do not see.
set -euo pipefail
cd "$(dirname "$0")/.."
make --no-print-directory build .venv/test

sanitizer=${SANITIZER:-address,undefined}
rm -rf build/sanitized
flags="-fsanitize=$sanitizer -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
MERKQL_DEBUG=1 CFLAGS=$flags LDFLAGS=$flags .venv/bin/python setup.py -q build \
    --build-temp build/sanitized/temp --build-lib build/sanitized/lib

# The interpreter's own allocator would hide overruns; its leaks at exit are not ours to judge.
export PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=$PWD/build/sanitized/lib
export TSAN_OPTIONS=exitcode=66
[ "$sanitizer" = thread ] && library=libtsan.so || library=libasan.so
LD_PRELOAD=$(cc -print-file-name=$library) .venv/bin/python -m pytest -q -p no:cacheprovider \
    "${@:-tests/unit}"
