#!/usr/bin/env bash
# Fuzzes every decoder for FUZZ_SECONDS (30): guided by coverage, on a debug build under
# AddressSanitizer and UBSan. That takes clang and atheris, which has wheels for CPython on Linux;
# where one of them is missing, it says so and the blind fuzzer runs under the same sanitizers.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
seconds=${FUZZ_SECONDS:-30}
make --no-print-directory build "$venv/test"

missing=""
command -v clang >/dev/null || missing="clang is not installed"
if [ -z "$missing" ] && ! "$venv/bin/python" -c 'import atheris' 2>/dev/null; then
    "$venv/bin/python" -m pip install -q --only-binary :all: 'merkql[fuzz]' >/dev/null 2>&1 || true
    "$venv/bin/python" -c 'import atheris' 2>/dev/null ||
        missing="no wheel of atheris for this Python"
fi
if [ -n "$missing" ]; then
    echo "$missing: fuzzing blindly"
    FUZZ_SECONDS=$seconds exec tools/test_sanitized.sh tests/fuzz
fi

# Linked without the flags: the library of the sanitizers is the one that atheris brings.
flags="-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined"
rm -rf build/fuzzed
MERKQL_DEBUG=1 CC="clang $flags -fno-omit-frame-pointer -g" LDSHARED="clang -shared" \
    "$venv/bin/python" -W ignore setup.py -q build \
    --build-temp build/fuzzed/temp --build-lib build/fuzzed/lib 2>build/fuzzed.log ||
    { tail -n 30 build/fuzzed.log; exit 1; }

# The interpreter's own leaks at exit are not ours to judge; memory that is refused is an error.
export PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
FUZZ_PRELOAD=$("$venv/bin/python" -c 'import atheris; print(atheris.path())')/asan_with_fuzzer.so
export FUZZ_PRELOAD FUZZ_LIBRARY=$PWD/build/fuzzed/lib PYTHONPATH=$PWD/tests
exec "$venv/bin/python" -m fuzz.guided --seconds "$seconds" "$@"
