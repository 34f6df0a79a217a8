// SPDX-License-Identifier: Apache-2.0
// A new process that shares its parent's memory until it executes.
#pragma once

#include <linux/sched.h>

extern "C" {

/// clone3(2) with CLONE_VM added to `arguments`, whose stack must be set: the new process runs
/// `entry(argument)` there, which must not return. Unlike fork it copies no page tables, which can cost more
/// than the rest of starting a process. The C library's clone() does not support CLONE_INTO_CGROUP.
///
/// From here on the memory, including the C library's, belongs to the new process: the caller closes all its
/// descriptors, touches nothing and waits to be killed. Returns only on failure: -1 with errno.
long fallbackd_clone_sharing(clone_args* arguments, void (*entry)(void*), void* argument);
}
