# SPDX-License-Identifier: Apache-2.0
# Sourced by the scripts: locations, progress messages, builds.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' dim=$'\e[2m' reset=$'\e[0m'
else
  bold='' dim='' reset=''
fi

# no_arguments "$@": for scripts without arguments. Prints the script's head for --help.
no_arguments() {
  (($#)) || return 0
  if [[ $1 == -h || $1 == --help ]]; then
    sed -n '3,/^source/{/^source/d; s/^# \{0,1\}//p}' "$0"
    exit 0
  fi
  echo "scripts/${0##*/}: unknown argument $1; it takes none" >&2
  exit 2
}

# step TEXT: announces the next step.
step() { printf '%s==> %s%s\n' "$bold" "$*" "$reset"; }

# quietly NAME COMMAND...: shows a command's output only if it fails, otherwise the time it took.
quietly() {
  local name=$1 log start
  shift
  log=$(mktemp)
  start=$SECONDS
  step "$name"
  if ! "$@" >"$log" 2>&1 </dev/null; then
    echo "$name failed; its output:" >&2
    tail -n 400 "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
  printf '%s    done in %d s%s\n' "$dim" $((SECONDS - start)) "$reset"
}

# build PRESET [TARGET...]
build() {
  local preset=$1 targets=()
  shift
  if (($#)); then targets=(--target "$@"); fi
  quietly "configure ($preset)" cmake --preset "$preset"
  quietly "build ($preset)" cmake --build --preset "$preset" "${targets[@]}"
}

# The address of the installed system's archive, from apt's configuration. It is never stored.
debian_archive() {
  local uri
  uri=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' 'Created-By: Packages' |
    awk '$2 == "main" && !seen { print $1; seen = 1 }')
  if [[ -z $uri ]]; then
    echo "apt knows no archive with the component main; run apt-get update first" >&2
    return 1
  fi
  echo "$uri"
}
