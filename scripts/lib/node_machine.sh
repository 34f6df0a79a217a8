# SPDX-License-Identifier: Apache-2.0
# Sourced by scripts/node: one machine, from its disks to its end.

boot_limit=60           # with KVM a boot takes a few seconds
emulated_boot_limit=180 # a slower machine would not finish any test in reasonable time
boots_left=3            # an emulated kernel sometimes dies while it patches itself on one processor and runs on another

# kvm_works: whether /dev/kvm runs Debian's kernel. Some hypervisors have a /dev/kvm that runs only kernels made for it.
# Tried once for each boot of this machine, with only a kernel, which panics because it finds no root.
kvm_works() {
  local answer=$root/build/node/kvm identity
  [[ -r /dev/kvm && -w /dev/kvm ]] || return 1
  identity=$(</proc/sys/kernel/random/boot_id)
  if [[ ! -e $answer || $(head -n 1 "$answer") != "$identity" ]]; then
    local kernel log works=no
    kernel=$(kernel_alone) || return 2
    log=$(timeout -k 2 15 qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 256 -nodefaults -no-user-config \
      -nic none -display none -no-reboot -serial stdio -kernel "$kernel" -append 'console=ttyS0 panic=-1' \
      </dev/null 2>&1) || true
    if [[ $log == *'Unable to mount root fs'* ]]; then works=yes; fi
    printf '%s\n' "$identity" "$works" >"$answer"
  fi
  [[ $(sed -n 2p "$answer") == yes ]]
}

# accelerator: prints kvm or tcg. Fails if the kernel for the check cannot be fetched.
accelerator() {
  local status=0
  if [[ $emulate == yes ]]; then status=1; else kvm_works || status=$?; fi
  case $status in
    0) echo kvm ;;
    1) echo tcg ;;
    *) return 1 ;;
  esac
}

# collect_libraries: copies the libraries that the tree's programs load, for machines that lack a library of that name.
# The C library is left out: programs run with a newer one, but its version must be their loader's.
collect_libraries() {
  local folder=$root/build/node/libraries/lib program library
  local -A seen=()
  rm -rf "${folder:?}"
  mkdir -p "$folder"
  for program in "$tree"/build/{release,debug}/bin/*; do
    [[ -f $program && -x $program ]] || continue
    while read -r library; do
      [[ -n ${seen[$library]:-} ]] && continue
      seen[$library]=1
      cp -L "$library" "$folder/"
    done < <(ldd "$program" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// && $1 !~ /^(libc|libm|libdl|libpthread|librt)\.so/ { print $3 }')
  done
}

# prepare_share FOLDER COMMAND...: what the machine reads at boot, and the folder for its results.
prepare_share() {
  local share=$1 rows=24 columns=80
  shift
  mkdir -p "$share"/{results,guest}
  cp "$variations"/guest/{setup,run,console,facts,tests} "$share/guest/"
  if [[ -n $cut ]]; then touch "$share/cut"; fi
  declare -p node >"$share/settings"
  echo "$variation" >"$share/variation"
  echo "$tree" >"$share/tree"
  if (($#)); then
    printf '%s\0' "$@" >"$share/command"
  else
    read -r rows columns < <(stty size)
    echo "$rows $columns ${TERM:-linux}" >"$share/terminal"
  fi
}

# prepare_disks FOLDER IMAGE: the root as differences from the image, and a scratch disk that holds only the libraries.
prepare_disks() {
  local folder=$1 image=$2
  if [[ ! -e $folder/root.qcow2 ]]; then
    qemu-img create -q -f qcow2 -F raw -b "$image/root.img" "$folder/root.qcow2"
  fi
  if [[ ! -e $folder/scratch.img ]]; then
    truncate -s 16G "$folder/scratch.img"
    mke2fs -q -t ext4 -L scratch -m 0 -E lazy_itable_init=1,lazy_journal_init=1 -d "$root/build/node/libraries" \
      "$folder/scratch.img"
  fi
}

# machine_arguments IMAGE RUN DISKS: fills the array `qemu`.
machine_arguments() {
  local image=$1 run=$2 disks=$3 disk throttle='' append
  qemu=(qemu-system-x86_64 -nodefaults -no-user-config -nic none -display none -no-reboot
    -smp "${node[cpus]}" -m "${node[memory]}")
  if [[ $accelerator == kvm ]]; then
    qemu+=(-M q35 -accel kvm -cpu host)
  else
    qemu+=(-M q35 -accel "tcg,thread=multi" -cpu max)
  fi
  # The first word tells tests that they may break this machine.
  append="fallbackd.node=$variation console=ttyS0 quiet panic=-1 systemd.show_status=no"
  if [[ ${node[lsm]} == selinux ]]; then append+=" security=selinux selinux=1"; else append+=" security=apparmor"; fi
  qemu+=(-kernel "$image/vmlinux" -initrd "$image/initrd" -append "$append ${node[cmdline]:-} $cmdline"
    -serial "file:$run/console.log")
  if [[ -n ${node[disk_iops]:-} ]]; then throttle+=",throttling.iops-total=${node[disk_iops]}"; fi
  if [[ -n ${node[disk_mib]:-} ]]; then throttle+=",throttling.bps-total=$((node[disk_mib] * 1024 * 1024))"; fi
  # The order makes them /dev/vda and /dev/vdb.
  for disk in root.qcow2,format=qcow2 scratch.img,format=raw; do
    qemu+=(-drive "if=none,id=${disk%%.*},file=$disks/$disk,cache=writeback,discard=unmap$throttle"
      -device "virtio-blk-pci,drive=${disk%%.*}")
  done
  qemu+=(-fsdev "local,id=node,path=$run/share,security_model=none" -device "virtio-9p-pci,fsdev=node,mount_tag=node"
    -fsdev "local,id=tree,path=$tree,security_model=none,readonly=on,multidevs=remap"
    -device "virtio-9p-pci,fsdev=tree,mount_tag=tree" -device virtio-serial-pci)
}

# run_machine COMMAND...: exits the script.
run_machine() {
  local image accelerator run qemu=()
  image=$(image_of)
  accelerator=$(accelerator) || exit 125
  if [[ $accelerator == tcg ]]; then boot_limit=$emulated_boot_limit; fi
  mkdir -p "$root/build/node/runs"
  run=$(mktemp -d "$root/build/node/runs/$variation.XXXXXX")
  # shellcheck disable=SC2064 # expand now, not when the trap runs
  trap "end_machine '$run'" EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  collect_libraries
  prepare_share "$run/share" "$@"
  prepare_disks "${disks:-$run}" "$image"
  machine_arguments "$image" "$run" "${disks:-$run}"
  if (($#)); then run_command "$run"; else run_console; fi
}

end_machine() {
  local run=$1
  if [[ -e $run/pid ]]; then kill "$(<"$run/pid")" 2>/dev/null || true; fi
  rm -rf "${run:?}"
}

run_console() {
  "${qemu[@]}" -chardev stdio,id=console,signal=off -device virtconsole,chardev=console
  bring_back "$run"
}

# cut_power RUN: like pulling the plug. What the machine has not written to a disk is lost; on the root, also what it has not
# flushed, because qemu holds the tables of that disk's differences.
cut_power() {
  sleep "$cut"
  touch "$1/cut"
  kill -KILL "$(<"$1/pid")"
  rm -f "$1/pid"
}

# run_command RUN: the machine reports "ready" before the command, "working" once a cut may come, and "exit CODE" after the
# command; we report "ended".
run_command() {
  local run=$1 event code='' wait=$boot_limit shown began=$EPOCHREALTIME cutting='' reached=boot
  rm -f "$run"/{output,events}
  mkfifo "$run/output" "$run/events"
  exec 5<>"$run/events"
  cat "$run/output" &
  shown=$!
  {
    timeout -k 5 $((boot_limit + limit)) "${qemu[@]}" -pidfile "$run/pid" \
      -chardev "file,id=output,path=$run/output" -device virtserialport,name=output,chardev=output \
      -chardev "file,id=events,path=$run/events" -device virtserialport,name=events,chardev=events \
      </dev/null >"$run/qemu.log" 2>&1 || true
    echo ended >&5
  } &
  while read -r -t "$wait" -u 5 event; do
    case $event in
      ready)
        printf '%s    %s booted in %s s (%s)%s\n' "$dim" "$variation" \
          "$(seconds_since "$began")" "$accelerator" "$reset" >&2
        wait=$limit reached=command
        ;;
      working)
        if [[ -n $cut && -z $cutting ]]; then
          cut_power "$run" &
          cutting=$!
        fi
        ;;
      exit\ *) code=${event#exit } wait=60 ;;
      ended) break ;;
    esac
  done
  if [[ ${event:-} == ended ]]; then wait "$shown"; fi
  boots_left=$((boots_left - 1))
  if [[ $event == ended && $reached == boot && $accelerator == tcg ]] && ((boots_left > 0)); then
    echo "scripts/node: the emulated machine died while it booted; trying again" >&2
    run_command "$run"
  fi
  bring_back "$run"
  if [[ -n $code ]]; then exit "$code"; fi
  if [[ -e $run/cut && $event == ended ]]; then
    echo "scripts/node: cut the power after $cut s" >&2
    exit 137
  fi
  if [[ -n $cutting ]]; then kill "$cutting" 2>/dev/null || true; fi
  explain_end "$run"
}

seconds_since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }

# explain_end RUN: prints why there is no exit code.
explain_end() {
  local run=$1
  if [[ $event == ended ]]; then
    echo "scripts/node: the machine ended before the command did; its last output:" >&2
    tail -n 40 "$run/console.log" "$run/qemu.log" >&2
    exit 125
  fi
  if [[ $reached == command ]]; then
    echo "scripts/node: the command did not finish within $limit s" >&2
    exit 124
  fi
  tail -n 40 "$run/console.log" >&2
  if [[ $accelerator == tcg ]]; then
    echo "scripts/node: skipped: no usable /dev/kvm, and the emulated machine did not boot within $boot_limit s" >&2
    exit 77
  fi
  echo "scripts/node: the machine did not boot within $boot_limit s" >&2
  exit 125
}

# bring_back RUN: copies the results of this run only.
bring_back() {
  local run=$1
  local own=$root/build/node/results/$variation
  # Results of an earlier run could be mistaken for this one's. A folder given by the user is only added to.
  if [[ $results == "$own" ]]; then rm -rf "${own:?}"; fi
  mkdir -p "${results:?}"
  cp -r "$run/share/results/." "$results/"
  cp "$run/console.log" "$results/console.log" 2>/dev/null || true
}
