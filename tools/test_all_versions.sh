#!/usr/bin/env bash
# The test suite on every CPython from 3.10 to 3.13 that is on PATH or kept by pyenv. The one that
# .venv was made with is left out, unless --all is given; versions that are not here are named.
set -euo pipefail
cd "$(dirname "$0")/.."

VERSIONS="3.10 3.11 3.12 3.13"
pytest_options=${PYTEST_ADDOPTS:--q}

# What version an interpreter is of; nothing where it does not run, as a shim of pyenv may not.
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }

interpreter() {
    local candidate
    for candidate in "$(command -v "python$1" || true)" "$(pyenv_interpreter "$1")"; do
        if [ -n "$candidate" ] && [ "$(version_of "$candidate")" = "$1" ]; then
            echo "$candidate"
            return
        fi
    done
}

pyenv_interpreter() {
    command -v pyenv >/dev/null || return 0
    local version
    version=$(pyenv versions --bare | grep -E "^$1\.[0-9]+$" | tail -n 1 || true)
    [ -z "$version" ] || echo "$(pyenv root)/versions/$version/bin/python"
}

done_already=
if [ "${1:-}" != --all ] && [ -x "${VENV:-.venv}/bin/python" ]; then
    done_already=$(version_of "${VENV:-.venv}/bin/python")
fi

tested= skipped=
for version in $VERSIONS; do
    python=$(interpreter "$version")
    if [ "$version" = "$done_already" ]; then
        continue
    elif [ -z "$python" ]; then
        skipped+=" $version"
        continue
    fi
    echo "--- CPython $version"
    PYTEST_ADDOPTS=$pytest_options \
        make --no-print-directory test PYTHON="$python" VENV=".venv-$version"
    tested+=" $version"
done
echo "CPython tested here:${tested:- none}${done_already:+; already by make test: $done_already}"
[ -z "$skipped" ] || echo "CPython skipped, no such interpreter on this machine:$skipped"
