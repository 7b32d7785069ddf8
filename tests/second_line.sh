#!/usr/bin/env bash
# Runs a command on the current line of TFX where the host runs the older one: `tests/second_line.sh make test`.
#
# The command gets a copy of this checkout in a Debian 13 root, which debootstrap makes once in a cache folder
# (DRAW_SECOND_LINE, else below XDG_CACHE_HOME) and which keeps its .venv. Mounts and processes end with the command, for
# they are in namespaces of its own. Where all this cannot be done, one line says why, and the status is 0.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "second line skipped: $1"
    exit 0
}

grep -qx 'TFX 1.16' .venv/.installed || skip "this host runs the current line itself"
[[ $EUID == 0 ]] || skip "only root may make and enter a Debian 13 root"
command -v debootstrap >/dev/null || skip "debootstrap is not installed"
unshare --mount --pid --fork true 2>/dev/null || skip "this container may not make namespaces"

cache=${DRAW_SECOND_LINE:-${XDG_CACHE_HOME:-$HOME/.cache}/draw-tfx/second-line}
mkdir -p "$cache"
cache=$(realpath "$cache")
root=$cache/debian13
exec {lock}>"$cache/lock"
flock "$lock"

if [[ ! -d $root ]]; then
    echo "making a Debian 13 root in $root"
    rm -rf "$root.unfinished"
    debootstrap --variant=minbase --include=ca-certificates,g++,make,python3-dev,python3-venv \
        trixie "$root.unfinished" >"$cache/debootstrap.log" 2>&1 || { tail -n 20 "$cache/debootstrap.log"; exit 1; }
    mv "$root.unfinished" "$root"
fi

mkdir -p "$root/draw-tfx"
find "$root/draw-tfx" -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard --deduplicate |
    tar --create --null --files-from=- --ignore-failed-read --warning=no-failed-read |
    tar --extract --directory "$root/draw-tfx"

# What the host's pip reads: its configuration files, and what these and PIP_* name on this host. Of a local index it is
# the folder above, for the files that an index offers are usually beside it.
pip_files() {
    local config path
    config=$(.venv/bin/python -m pip config debug)
    sed -n 's/^ *\(\/.*\), exists: True$/\1/p' <<<"$config"
    grep -oE "(file://|[[:space:]'])/[^[:space:]',]+" <<<"$config" | while read -r path; do
        path=${path#[[:space:]\']}
        path=${path%/}
        [[ $path == file://* ]] && path=${path#file://} && path=${path%/*}
        if [[ -n $path && -e $path ]]; then echo "$path"; fi
    done
}

enter() {
    local root=$1 path
    shift
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    sort -u | while read -r path; do
        if [[ -d $path ]]; then mkdir -p "$root$path"; else mkdir -p "$root${path%/*}" && touch "$root$path"; fi
        mount --bind "$path" "$root$path"
    done
    exec chroot "$root" env -u MAKEFLAGS -u MAKELEVEL -u PYTHON -u VIRTUAL_ENV LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        sh -c 'cd /draw-tfx && exec "$@"' sh "$@" </dev/null
}

export -f enter
{
    printf '%s\n' /etc/hosts /etc/resolv.conf
    pip_files
} | unshare --mount --pid --fork --kill-child bash -euo pipefail -c 'enter "$@"' bash "$root" "$@"
