// SPDX-License-Identifier: Apache-2.0
// How a fallback differs from a container of its pod, and why. A closed list: likeness_test fails for a
// difference that is not listed, and for an unused entry.
#pragma once

namespace fallbackd::e2e {

/// fnmatch(3) patterns for the row and for its value on each side.
struct Reason {
  const char* row;
  const char* container;
  const char* fallback;
  const char* why;
  const char* onlyWhere = nullptr;  // a file that only some machines have: without it the entry may be unused
  bool notAlways = false;           // depends on how the machine starts containerd: may be unused
};

inline constexpr const char* kNothing = "-";
inline constexpr const char* kLegacyCgroups = "/sys/fs/cgroup/memory";

inline constexpr Reason kReasons[] = {
    // stricter than a container
    {"securebits", "0", "235", "locked: no capability comes back by being root or by inheritance"},
    {"rlimit core", "0 unlimited", "0 0", "no core dumps of a fallback, even if it requests them"},
    {"mount /etc/app", "* ro,*", "* ro,nosuid,nodev,*",
     "set-user-id files and devices of a volume have no effect"},
    {"mount /scratch", "* rw,*", "* rw,nosuid,nodev,*",
     "set-user-id files and devices of a volume have no effect"},
    {"mount /dev/shm", "tmpfs rw,relatime*", "tmpfs rw,nosuid,nodev,noexec,*",
     "no programs and devices in shared memory, as newer versions of runc allow; older ones keep the "
     "sandbox's flags",
     nullptr, true},
    {"namespace cgroup", "the host's*", "its own",
     "on cgroup v1 containerd creates none; the leaf is the root", kLegacyCgroups},
    {"cgroup seen inside, *", "/kubepods/*", "/",
     "on cgroup v1 containerd creates none; the leaf is the root", kLegacyCgroups},
    {"cgroup, *", "/kubepods/*/LEAF", "/kubepods/*",
     "on cgroup v1 a leaf is created where something is limited or counted; elsewhere it would equal the "
     "pod's",
     kLegacyCgroups},
    {"cgroup, misc", "", "/kubepods/*", "runc leaves its containers at the root of this v1 hierarchy",
     kLegacyCgroups, true},
    {"mount /sys*", "*", kNothing, "there is no /sys: the machine stays hidden"},
    {"masked /sys/*", "*", "absent", "there is no /sys: the machine stays hidden"},
    {"path /sys", "folder 0555 0:0", "folder 0755 0:0", "there is no /sys: an empty folder"},
    {"root /sys", "folder 0555 0:0", "folder 0755 0:0", "there is no /sys: an empty folder"},
    {"device /dev/p*", "*", kNothing, "no terminals: nobody can attach to a fallback"},
    {"mount /proc/*", "tmpfs *", "tmpfs ro,nosuid,noexec,*",
     "masked by empty entries of the read-only root, not by the runtime's own /dev/null"},
    {"mount /dev/pts", "devpts *", kNothing, "no terminals: nobody can attach to a fallback"},
    {"write to /dev", "(Permission denied)", "(Read-only file system)", "/dev is part of the read-only root"},
    {"mount /dev", "tmpfs rw,*", kNothing, "/dev is part of the read-only root"},
    {"fd 0", "device read-write", "device read", "/dev/null on both sides; nobody needs to write to it"},
    // there is no image
    {"mount /", "overlay ro,*", "tmpfs ro,nosuid,noexec,*", "there is no image: its own root in memory"},
    {"root /bin", "folder *", kNothing, "there is no image; the binary runs from a descriptor"},
    {"* /etc/[gp]*", "(No such file or directory)", "*", "this image has none; a fallback's user has a name"},
    {"mount /tmp", kNothing, "tmpfs rw,nosuid,nodev,*",
     "this image has none; a static program may count on it"},
    {"* /tmp", "*", "*", "this image has none; a static program may count on it"},
    // kubelet creates these with the container, which does not exist
    {"file /etc/hosts", "127.0.0.1 localhost | POD-IP web-0",
     "127.0.0.1 localhost | ::1 localhost * | POD-IP web-0",
     "kubelet writes the pod's file only with the container: we write the same names"},
    {"mount /etc/*", "*", kNothing, "a file of the read-only root, not a mount"},
    // how it is started
    {"Groups", "65533*", "", "containerd repeats the primary group among the others; it grants nothing"},
    {"SigIgn", "*", "0000000000000000",
     "left over from the runtime's own process; here all have their defaults", nullptr, true},
    {"lsm label", "runc (unconfined)", "unconfined",
     "no profile on either side; some nodes give runc's own process a label that says so", nullptr, true},
    {"device /dev/core", "link *", kNothing, "leads to /proc/kcore, which is masked on both sides",
     "/proc/kcore"},
    {"fd [12]", "pipe write", "pipe read-write",
     "holds its own FIFO open, so that no reader can break it by closing its end"},
    {"device /dev/mqueue", "folder *", kNothing,
     "message queues work without the mount, which only lists them"},
    {"mount /dev/mqueue", "mqueue *", kNothing,
     "message queues work without the mount, which only lists them"},
    {"environment POD_*", kNothing, "*", "the downward set that every fallback gets"},
    {"environment NODE_NAME", kNothing, "*", "the downward set that every fallback gets"},
};

}  // namespace fallbackd::e2e
