// A new process that shares its parent's memory until it executes.
#pragma once

#include <linux/sched.h>

extern "C" {

/// clone3(2) with CLONE_VM and CLONE_VFORK on top of `arguments`, whose stack must be set: the new process
/// runs `entry(argument)` there, which must not return, and the caller waits until it executed or ended.
/// Unlike a fork it copies no page tables, which may cost more than all the rest of starting a process.
/// Gives the new process's id, or -1 with errno. The C library's clone() cannot say CLONE_INTO_CGROUP.
long fallbackd_clone_sharing(clone_args* arguments, void (*entry)(void*), void* argument);
}
