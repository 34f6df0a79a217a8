# SPDX-License-Identifier: Apache-2.0
# Sourced by scripts/node after common.sh: a variation is a file of "key = value" lines in scripts/nodes.

variations=$root/scripts/nodes

# read_variation NAME: fills the caller's map `node`. The base comes first: a later scalar replaces its value, a later
# list is appended.
read_variation() {
  local name=$1 depth=${2:-0} file=$variations/$1.node line key value number=0
  if ! [[ $name =~ ^[a-z0-9][a-z0-9.-]*$ && -f $file ]]; then
    echo "scripts/node: there is no variation '$name'; scripts/node --list names them" >&2
    return 1
  fi
  if ((depth > 8)); then
    echo "$file: its bases form a cycle" >&2
    return 1
  fi
  value=$(sed -n 's/^base *= *//p' "$file")
  if [[ -n $value ]]; then read_variation "$value" $((depth + 1)) || return 1; fi
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    [[ -z $line || $line == '#'* ]] && continue
    key=${line%% =*} value=${line#* = }
    case $key in
      base) ;;
      about | suite | kernel | lsm | cgroup_driver | pods | cpus | memory | swap | disk_iops | disk_mib) node[$key]=$value ;;
      packages | cmdline | sysctl) node[$key]="${node[$key]:+${node[$key]} }$value" ;;
      *)
        echo "$file:$number: unknown key '$key'; scripts/nodes/README.md lists the keys" >&2
        return 1
        ;;
    esac
  done <"$file"
}

# variation_names: prints one per line.
variation_names() {
  local file
  for file in "$variations"/*.node; do basename "$file" .node; done
}

list_variations() {
  local name
  while read -r name; do
    printf '  %-16s %s\n' "$name" "$(sed -n 's/^about = //p' "$variations/$name.node")"
  done < <(variation_names)
}
