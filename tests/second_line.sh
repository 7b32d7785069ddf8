#!/usr/bin/env bash
# Runs a command on the current line of TFX where the host runs the older one: `tests/second_line.sh make test`.
#
# The command gets a copy of this checkout in a Debian 13 root, which is made once in a cache folder (DRAW_SECOND_LINE,
# else below XDG_CACHE_HOME) and keeps its .venv. Where all this cannot be done, one line says why, and the status is 0.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "second line skipped: $1"
    exit 0
}

grep -qx 'TFX 1.16' .venv/.installed || skip "this host runs the current line itself"
reason=$(tests/debian_root.sh possible) || skip "$reason"

cache=${DRAW_SECOND_LINE:-${XDG_CACHE_HOME:-$HOME/.cache}/draw-tfx/second-line}
mkdir -p "$cache"
cache=$(realpath "$cache")
root=$cache/debian13
exec {lock}>"$cache/lock"
flock "$lock"

tests/debian_root.sh make "$root" ca-certificates g++ make python3-dev python3-venv
mkdir -p "$root/draw-tfx"
find "$root/draw-tfx" -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard --deduplicate |
    tar --create --null --files-from=- --ignore-failed-read --warning=no-failed-read |
    tar --extract --directory "$root/draw-tfx"

tests/debian_root.sh enter-with-pip "$root" \
    env -u MAKEFLAGS -u MAKELEVEL -u PYTHON -u VIRTUAL_ENV LANG=C.UTF-8 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    sh -c 'cd /draw-tfx && exec "$@"' sh "$@"
