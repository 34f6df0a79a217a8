#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a test program where it cannot harm anything: alone.py NUMBER-FILE OFF-FILE RESULTS -- COMMAND...

The guard that is off may be the one that protects the machine from a test, so everything is new: PID, mount, cgroup,
network, IPC and UTS namespaces. Inside, no process, cgroup or address of the machine can be named. Every mount is
read-only except for a new tmpfs with the temporary files, RESULTS, /dev, and the new /proc and cgroups. NUMBER-FILE is
mounted over OFF-FILE and selects the guard that is off. Everything that is left at the end is killed and removed.
The exit code is the command's; 126 if the isolation is not possible.
"""
import contextlib
import ctypes
import os
import pathlib
import re
import signal
import socket
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x20000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x1000, 0x4000, 1 << 18, 2
AT_FDCWD, AT_RECURSIVE, RDONLY, MOUNT_SETATTR = -100, 0x8000, 1, 442
PR_SET_PDEATHSIG = 1
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
CANNOT = 126


class NotAlone(Exception):
    pass


def check(result, what):
    if result != 0:
        raise NotAlone(f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source, target, kind, flags, data=None):
    check(libc.mount(source.encode(), target.encode(), kind and kind.encode(), flags, data and data.encode()),
          f"mount {target}")


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def mounts():
    """Mount point, whether it is read-only, type, options of the file system."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        dash = words.index("-")
        path = re.sub(r"\\(\d{3})", lambda it: chr(int(it[1], 8)), words[4])
        yield path, "ro" in words[5].split(","), words[dash + 1], words[dash + 3]


class Cgroups:
    """A folder for this run in each hierarchy. It is the root inside the cgroup namespace."""

    def __init__(self):
        own = {}
        for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            own[frozenset(filter(None, names.split(",")))] = path
        self.places = []  # mount point, type, data for mount, folder
        for path, _, kind, options in mounts():
            if kind not in ("cgroup", "cgroup2"):
                continue
            data = ",".join(one for one in options.split(",") if one not in ("rw", "ro")) if kind == "cgroup" else None
            names = frozenset() if kind == "cgroup2" else frozenset(
                one for one in data.split(",") if one not in ("xattr", "noprefix", "clone_children"))
            if names not in own:
                continue
            folder = f"{path}{own[names].rstrip('/')}/fallbackd-guards-{os.getpid()}"
            os.mkdir(folder)
            self.places.append((path, kind, data, folder))
            for name in ("cpuset.cpus", "cpuset.mems"):  # a new v1 cpuset has no CPUs and nodes
                if kind == "cgroup" and os.path.exists(f"{folder}/{name}"):
                    pathlib.Path(folder, name).write_text(pathlib.Path(folder).parent.joinpath(name).read_text())

    def join(self):
        for *_, folder in self.places:
            pathlib.Path(folder, "cgroup.procs").write_text("0")

    def mount(self):
        check(libc.umount2(b"/sys/fs/cgroup", MNT_DETACH), "unmount the cgroups")
        if not any(path == "/sys/fs/cgroup" for path, *_ in self.places):
            mount("cgroups", "/sys/fs/cgroup", "tmpfs", 0, "mode=755")
        for path, kind, data, _ in self.places:  # in the order that tests expect
            os.makedirs(path, exist_ok=True)
            mount("cgroup", path, kind, 0, data)
        left = [path for path, _, kind, _ in mounts() if kind in ("cgroup", "cgroup2")]
        if sorted(left) != sorted(path for path, *_ in self.places):
            raise NotAlone(f"cgroups of the machine are still mounted: {left}")

    def remove(self):
        """Removes the folders; their processes end with the PID namespace, at most a moment later."""
        for _ in range(200):
            for *_, folder in self.places:
                for inner, _, _ in os.walk(folder, topdown=False):
                    with contextlib.suppress(OSError):
                        os.rmdir(inner)
            if not any(os.path.exists(folder) for *_, folder in self.places):
                return
            time.sleep(0.02)
        print(f"alone.py: cgroups are left: {[folder for *_, folder in self.places]}", file=sys.stderr)


def set_read_only(path, flags, on):
    attributes = struct.pack("QQQQ", RDONLY if on else 0, 0 if on else RDONLY, 0, 0)
    check(libc.syscall(MOUNT_SETATTR, AT_FDCWD, path.encode(), flags, attributes, len(attributes)), f"flags of {path}")


def below(path, folders):
    return any(path == one or path.startswith(one + "/") for one in folders)


def make_mounts(cgroups, number, off, results):
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", 0)
    cgroups.mount()
    scratch = next(one for one in ("/mnt", "/media", "/srv", "/opt")
                   if os.path.isdir(one) and not results.startswith(one + "/"))
    mount("guards", scratch, "tmpfs", 0, "mode=1777,size=512m")
    mount(results, results, None, MS_BIND)
    mount(number, off, None, MS_BIND)
    kept = ("/proc", "/sys/fs/cgroup", "/dev", scratch, results)
    before = list(mounts())
    set_read_only("/", AT_RECURSIVE, True)
    for path, was_read_only, *_ in before:
        if below(path, kept) and not was_read_only:
            set_read_only(path, 0, False)
    left = [path for path, read_only, *_ in mounts() if not read_only and not below(path, kept)]
    if left:
        raise NotAlone(f"still writable: {left}")
    os.environ["TMPDIR"] = scratch


def make_network():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        check(libc.ioctl(one.fileno(), SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP)), "bring up loopback")


def make_sure():
    """Checks that only this process is visible, and that it is process 1."""
    seen = [name for name in os.listdir("/proc") if name.isdigit()]
    if os.getpid() != 1 or seen != ["1"]:
        raise NotAlone(f"processes of the machine are visible: {seen[:5]}")


def be_first(cgroups, number, off, results, command):
    """Process 1 of the PID namespace: everything else in it ends when this process ends."""
    die_with_parent()
    make_mounts(cgroups, number, off, results)
    make_network()
    make_sure()
    test = os.fork()
    if test == 0:
        os.execv(command[0], command)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == test:
            return status


def exit_code(status):
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def in_child(function):
    """Runs it in a separate process, which SIGTERM ends; returns its exit code."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        code = CANNOT
        try:
            code = function()
        except (NotAlone, OSError) as error:
            print(f"alone.py: {error}", file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(code)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    return exit_code(os.waitpid(child, 0)[1])


def main(arguments):
    number, off, results, dashes, *command = arguments
    if dashes != "--" or not command:
        print(__doc__, file=sys.stderr)
        return 2
    die_with_parent()
    cgroups = Cgroups()

    def beside():
        die_with_parent()
        cgroups.join()
        check(libc.unshare(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS),
              "create namespaces")
        return in_child(lambda: exit_code(be_first(cgroups, number, off, results, command)))

    try:
        return in_child(beside)
    finally:
        cgroups.remove()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
