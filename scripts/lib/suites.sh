# SPDX-License-Identifier: Apache-2.0
# Sourced after common.sh: packages of any suite of the archive that this machine's apt uses, without changing the
# machine's own lists.

# suite_sources SUITE: prints the line for a sources.list.
suite_sources() {
  local uri
  uri=$(debian_archive) || return 1
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $1 main"
}

# open_suite SUITE FOLDER: reads the suite's list into FOLDER and sets the array `apt`, an apt-get that sees that suite
# only. `apt_cache` is the same for apt-cache. The caller removes FOLDER.
open_suite() {
  local suite=$1 work=$2 options
  mkdir -p "$work"/{lists/partial,archives/partial,debs}
  suite_sources "$suite" >"$work/sources.list" || return 1
  : >"$work/status"
  options=(-o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=- -o
    Dir::State::lists="$work/lists" -o Dir::Cache="$work" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
    -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3)
  apt=(apt-get "${options[@]}")
  # Ignores the installed packages, which belong to a different suite.
  apt_cache=(apt-cache "${options[@]}" -o Dir::State::status="$work/status")
  "${apt[@]}" update >"$work/log" 2>&1 || {
    echo "${0##*/}: apt cannot read the list of $suite; its last lines:" >&2
    tail -n 15 "$work/log" >&2
    return 1
  }
}
