// SPDX-License-Identifier: Apache-2.0
// The steps of a launch inside the new process, in order: one number says what failed.
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <string_view>

namespace fallbackd::launcher {

// X(name, stage, what the step does)
#define FALLBACKD_CHILD_STEPS(X)                                            \
  X(hide, spawner, "make itself untraceable")                               \
  X(watch_spawner, spawner, "watch over the spawner")                       \
  X(pid_namespace, spawner, "make a PID namespace")                         \
  X(take_order, spawner, "understand the order")                            \
  X(take_entry, spawner, "take the descriptors of the entry")               \
  X(sandbox_proc, join, "find the /proc of the sandbox")                    \
  X(await_tracer, join, "wait to be traced")                                \
  X(clone, spawner, "clone")                                                \
  X(join_cgroup, cgroup, "join the leaf")                                   \
  X(cgroup_namespace, cgroup, "make a cgroup namespace")                    \
  X(root_mount, rootfs, "mount the root")                                   \
  X(root_folder, rootfs, "create folder")                                   \
  X(root_device, rootfs, "create device")                                   \
  X(root_link, rootfs, "create link")                                       \
  X(root_file, rootfs, "write file")                                        \
  X(root_owner, rootfs, "give the root its owner")                          \
  X(root_label, rootfs, "label the root")                                   \
  X(proc_mount, rootfs, "mount /proc")                                      \
  X(oom_score, identity, "set oom_score_adj")                               \
  X(tmp_mount, rootfs, "mount /tmp")                                        \
  X(root_read_only, rootfs, "make the root read-only")                      \
  X(proc_mask, rootfs, "mask")                                              \
  X(proc_read_only, rootfs, "make read-only")                               \
  X(volume_target, rootfs, "find or create the mount point")                \
  X(volume_mount, rootfs, "mount volume at")                                \
  X(pivot, rootfs, "make the new root the root")                            \
  X(leave_old_root, rootfs, "leave the old root")                           \
  X(root_check, rootfs, "be inside the new root")                           \
  X(stdio, exec, "set up standard input and output")                        \
  X(close_fds, exec, "close descriptors")                                   \
  X(attribute, identity, "label the process by")                            \
  X(session, identity, "make a session")                                    \
  X(keyring, identity, "make a session keyring")                            \
  X(rlimit, identity, "set limit")                                          \
  X(join_sandbox, join, "join the sandbox's namespaces")                    \
  X(bounding_set, identity, "reduce the bounding set")                      \
  X(securebits, identity, "set the secure bits")                            \
  X(groups, identity, "set supplementary groups")                           \
  X(gid, identity, "set the group")                                         \
  X(uid, identity, "set the user")                                          \
  X(capabilities, identity, "set capabilities")                             \
  X(no_new_privs, identity, "set no_new_privs")                             \
  X(working_dir, rootfs, "enter the working directory")                     \
  X(seccomp, identity, "load the seccomp filter")                           \
  X(health_pids, health_check, "make a PID namespace for the health check") \
  X(health_start, health_check, "start the health check")                   \
  X(health_check, health_check, "health check")                             \
  X(exec, exec, "execute the binary")

enum class Step : std::uint8_t {
#define X(name, stage, text) name,
  FALLBACKD_CHILD_STEPS(X)
#undef X
};

struct StepInfo {
  Stage stage;
  std::string_view text;
};
inline constexpr StepInfo kSteps[] = {
#define X(name, stage, text) {Stage::stage, text},
    FALLBACKD_CHILD_STEPS(X)
#undef X
};

}  // namespace fallbackd::launcher
