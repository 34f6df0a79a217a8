# SPDX-License-Identifier: Apache-2.0
# Sourced by scripts/node: builds the disk, the kernel and the initrd that a variation boots from. Variations with the
# same suite, kernel, packages and security module share an image; everything else is passed at boot.
source "$root/scripts/lib/suites.sh"

images=$root/build/node/images

# The modules that the initrd loads: Debian does not build them in.
boot_modules=(virtio_pci virtio_blk virtio_console ext4 9pnet_virtio 9p)
# What these nodes do not need: hardware drivers, documentation, translations.
left_out=('/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*' '/usr/share/info/*')
unwanted_drivers=(gpu media infiniband isdn iio staging scsi usb hwmon input bluetooth mmc mtd)
# Units that are useless in a machine for one command.
masked=(tmp.mount getty@tty1.service serial-getty@ttyS0.service serial-getty@hvc0.service systemd-udev-trigger.service systemd-timesyncd.service systemd-random-seed.service
  systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-pstore.service systemd-logind.service
  e2scrub_reap.service e2scrub_all.timer fstrim.timer apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer
  systemd-tmpfiles-clean.timer docker-registry.service systemd-user-sessions.service
  systemd-networkd-wait-online.service)

# image_of: the folder of the image for the map `node`. Its name contains a digest of the recipe.
image_of() {
  local recipe
  recipe=$(
    printf '%s\n' "${node[suite]}" "${node[kernel]}" "${node[packages]}" "${node[lsm]}"
    cat "$root/scripts/lib/node_image.sh" "$variations"/guest/{init,mount,*.service}
  )
  echo "$images/${node[suite]}-${node[kernel]}-${node[lsm]}-$(sha256sum <<<"$recipe" | cut -c1-12)"
}

# ensure_image: builds the image if it is missing, and removes images that no recipe needs any more.
ensure_image() {
  local image lock
  image=$(image_of)
  [[ -e $image/complete ]] && return 0
  mkdir -p "$images"
  exec {lock}>"$root/build/node/lock"
  flock "$lock"
  if [[ ! -e $image/complete ]]; then
    quietly "build the image ${image##*/}" make_image "$image" || return 1
    remove_old_images
  fi
  exec {lock}>&-
}

remove_old_images() {
  local name folder wanted=()
  while read -r name; do
    local -A node=()
    read_variation "$name" && wanted+=("$(image_of)")
  done < <(variation_names)
  for folder in "$images"/*; do
    # A running machine keeps its image: an open file outlives its name.
    [[ " ${wanted[*]} " == *" $folder "* ]] || rm -rf "${folder:?}"
  done
}

# make_image FOLDER
make_image() {
  local image=$1 work=$1.work
  rm -rf "$image" "$work"
  mkdir -p "$work" "$root/build/node/debs/${node[suite]}"
  make_root "$work" && add_kernel "$work" && add_guest "$work/root" && label_root "$work/root" &&
    make_initrd "$work" && mkdir "$image" && make_disk "$work/root" "$image" &&
    mv "$work"/{vmlinux,initrd,release,versions} "$image" && warm "$work" || return 1
  # Removes only below this image's own folder, where nothing is mounted any more.
  rm -rf --one-file-system "${work:?}"
  touch "$image/complete"
}

make_root() {
  local work=$1 debs=$root/build/node/debs/${node[suite]} exclude options=()
  for exclude in "${left_out[@]}"; do options+=(--dpkgopt="path-exclude=$exclude"); done
  suite_sources "${node[suite]}" >"$work/sources.list" || return 1
  # The image's apt treats outdated lists like this machine's apt.
  local Check
  eval "$(apt-config shell Check Acquire::Check-Valid-Until/b)"
  options+=(--aptopt="Acquire::Check-Valid-Until \"${Check:-true}\"")
  # shellcheck disable=SC2016 # $1 is the hook's
  mmdebstrap --mode=root --variant=apt --skip=download/empty,essential/unlink,check/empty \
    --include="${node[packages]// /,}" "${options[@]}" \
    --setup-hook="mkdir -p \"\$1/var/cache/apt/archives\"" \
    --setup-hook="sync-in '$debs' /var/cache/apt/archives" \
    --customize-hook="sync-out /var/cache/apt/archives '$debs'" \
    --customize-hook='dpkg-query --admindir="$1/var/lib/dpkg" -W >"$1/../versions"' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/* "$1"/etc/apt/sources.list' \
    "${node[suite]}" "$work/root" - <"$work/sources.list"
}

# fetch_kernel WORK [PACKAGE...]: unpacks the newest kernel of the variation's suite to WORK/kernel, and downloads the packages.
fetch_kernel() {
  local work=$1 apt apt_cache package packages
  shift
  open_suite "${node[kernel]}" "$work/apt" || return 1
  mapfile -t packages < <("${apt_cache[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances linux-image-amd64 | grep -E '^linux-(image|modules|binary|base)-[0-9]' | sort -u)
  (cd "$work/apt/debs" && "${apt[@]}" download "${packages[@]}" "$@") || return 1
  mkdir "$work/kernel"
  for package in "$work"/apt/debs/linux-*.deb; do dpkg-deb -x "$package" "$work/kernel" || return 1; done
  # The kernel is in /boot, or in newer suites beside the modules.
  unpack_kernel "$(find "$work/kernel" -name 'vmlinuz*' -type f)" "$work/vmlinux"
}

# kernel_alone: prints the path of the variation's kernel: from its image, or fetched without an image.
kernel_alone() {
  local image kernel=$root/build/node/kernels/${node[kernel]} work
  image=$(image_of)
  if [[ -e $image/vmlinux ]]; then
    kernel=$image
  elif [[ ! -e $kernel/vmlinux ]]; then
    mkdir -p "$kernel"
    work=$(mktemp -d "$kernel/work.XXXXXX")
    fetch_kernel "$work" >&2 && mv "$work/vmlinux" "$kernel/"
    # Removes only its own folder, where nothing is mounted.
    rm -rf --one-file-system "${work:?}"
    [[ -e $kernel/vmlinux ]] || return 1
  fi
  echo "$kernel/vmlinux"
}

# The kernel is unpacked, not installed: there is no bootloader, and the initrd is our own.
add_kernel() {
  local work=$1 drivers
  fetch_kernel "$work" busybox-static || return 1
  mkdir "$work/busybox"
  dpkg-deb -x "$work"/apt/debs/busybox-static_*.deb "$work/busybox" || return 1
  local modules=''
  for modules in "$work"/kernel/{usr/,}lib/modules/*; do
    if [[ -d $modules/kernel ]]; then break; fi
  done
  basename "$modules" >"$work/release"
  for drivers in "${unwanted_drivers[@]}"; do rm -rf "$modules/kernel/drivers/$drivers"; done
  rm -rf "$modules/kernel/sound"
  find "$work/kernel" -name 'vmlinuz*' -delete
  mkdir -p "$work/root/usr/lib/modules"
  mv "$modules" "$work/root/usr/lib/modules/"
  depmod -b "$work/root" "$(<"$work/release")"
}

# unpack_kernel VMLINUZ VMLINUX: qemu boots the ELF file directly (PVH), which saves an emulated processor from unpacking it.
# Offsets: Documentation/arch/x86/boot.rst of the kernel, setup_sects, payload_offset and payload_length.
unpack_kernel() {
  local from=$1 to=$2 sectors offset length magic
  number_at() { od -An -j "$1" -N "$2" -t "u$2" "$from" | tr -d ' '; }
  sectors=$(number_at $((0x1f1)) 1) offset=$(number_at $((0x248)) 4) length=$(number_at $((0x24c)) 4)
  offset=$(((sectors + 1) * 512 + offset))
  magic=$(od -An -j "$offset" -N 4 -t x1 "$from" | tr -d ' ')
  local unpack
  case $magic in
    fd377a58) unpack=(xz -dc --single-stream) ;;
    28b52ffd) unpack=(zstd -dc) ;;
    1f8b*) unpack=(gzip -dc) ;;
    *)
      echo "unknown compression of the kernel: $magic" >&2
      return 1
      ;;
  esac
  # The length of the unpacked kernel follows it, in four bytes.
  dd if="$from" iflag=skip_bytes,count_bytes skip="$offset" count=$((length - 4)) bs=1M status=none |
    "${unpack[@]}" >"$to"
}

# A minimal, uncompressed initrd: udev and the scripts of initramfs-tools would take an emulated processor longer than
# the rest of the boot.
make_initrd() {
  local work=$1 tree=$1/initrd.tree release line module count=10
  release=$(<"$work/release")
  mkdir -p "$tree"/{bin,dev,proc,sys,root,modules}
  cp "$work"/busybox/{usr/,}bin/busybox "$tree/bin/" 2>/dev/null || true  # its location depends on the suite
  [[ -x $tree/bin/busybox ]] || return 1
  install -m 0755 "$variations/guest/init" "$tree/init"
  while read -r line; do
    [[ $line == insmod* ]] || continue
    line=${line#insmod } module=${line%% *}
    count=$((count + 1))
    local file=$tree/modules/$count-${module##*/}
    case $module in
      *.xz) xz -dc "$module" >"${file%.xz}" ;;
      *.zst) zstd -qdc "$module" >"${file%.zst}" ;;
      *) cp "$module" "$file" ;;
    esac || return 1
  done < <(modprobe -a -d "$work/root" -S "$release" --show-depends "${boot_modules[@]}" | awk '!seen[$0]++')
  (cd "$tree" && find . | cpio --quiet -o -H newc) >"$work/initrd"
}

add_guest() {
  local tree=$1 unit
  # Looks like a node that was booted before: otherwise systemd would set up a first boot.
  tr -d - </proc/sys/kernel/random/uuid >"$tree/etc/machine-id"
  echo node >"$tree/etc/hostname"
  printf '127.0.0.1 localhost node\n::1 localhost\n' >"$tree/etc/hosts"
  : >"$tree/etc/fstab"
  mkdir -p "$tree"/{node,scratch,results} "$tree/etc/systemd/system/multi-user.target.wants"
  install -m 0755 "$variations/guest/mount" "$tree/usr/local/sbin/node-mount"
  for unit in "${masked[@]}"; do ln -sf /dev/null "$tree/etc/systemd/system/$unit"; done
  for unit in "$variations"/guest/*.service; do
    cp "$unit" "$tree/etc/systemd/system/"
    ln -s "../${unit##*/}" "$tree/etc/systemd/system/multi-user.target.wants/${unit##*/}"
  done
  ln -sf /lib/systemd/system/multi-user.target "$tree/etc/systemd/system/default.target"
  passwd -q -R "$tree" -d root
  # Newer than /usr: systemd would renew its catalogues and the linker's cache at every boot of a new disk.
  touch "$tree"/{etc,var}/.updated
}

# SELinux needs its labels on the disk; they are set from here, although the kernel that builds the image lacks SELinux.
label_root() {
  local tree=$1
  [[ ${node[lsm]} == selinux ]] || return 0
  sed -i 's/^SELINUX=.*/SELINUX=enforcing/' "$tree/etc/selinux/config"
  chroot "$tree" setfiles -F /etc/selinux/default/contexts/files/file_contexts /
}

make_disk() {
  local tree=$1 image=$2
  truncate -s 8G "$image/root.img"
  mke2fs -q -t ext4 -L node -m 0 -E lazy_itable_init=1,lazy_journal_init=1 -d "$tree" "$image/root.img"
}

# The first boot compiles AppArmor's profiles and creates state of services, which takes an emulated processor seconds.
# The image is the result of that boot. An image that does not boot yet can still be examined on a console.
warm() {
  local disks=$1/warm results=$1/results
  mkdir "$disks"
  if (run_machine true); then
    qemu-img commit -q "$disks/root.qcow2"
  else
    echo "the image does not boot yet; it is kept as built"
  fi
}
