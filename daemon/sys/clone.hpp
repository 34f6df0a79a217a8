// A new process that shares its parent's memory until it executes.
#pragma once

#include <linux/sched.h>

extern "C" {

/// clone3(2) with CLONE_VM on top of `arguments`, whose stack must be set: the new process runs
/// `entry(argument)` there, which must not return. Unlike a fork it copies no page tables, which may cost
/// more than all the rest of starting a process. The C library's clone() cannot say CLONE_INTO_CGROUP.
///
/// The memory, the C library's own included, is the new process's from here on: the caller closes all its
/// descriptors, touches nothing any more and waits to be killed. Returns only where it fails: -1 with errno.
long fallbackd_clone_sharing(clone_args* arguments, void (*entry)(void*), void* argument);
}
