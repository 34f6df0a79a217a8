// SPDX-License-Identifier: Apache-2.0
// A machine that tests cannot harm: every mount read-only but for what a run names. For programs that start
// and remove things as root. Written for main(), before any thread exists.
#pragma once

#include "base/error.hpp"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace fallbackd::test {

/// Makes the mounts of this process's mount namespace, which must be its own and private, read-only, with
/// what is hidden below others; but not /proc, /sys/fs/cgroup, /dev and the folders `writable`, as far as
/// they were writable. Looks at the result: an error means that nothing may be run.
Result<> makeMachineReadOnly(const std::vector<std::filesystem::path>& writable);

/// Makes `folder`, which is writable, the folder of temporary files in such a namespace.
Result<> keepTemporaryFilesIn(const std::filesystem::path& folder);

/// Where whoever started this program wants its results: the folders of --gtest_output (`gtestOutput`, as
/// "xml:FILE") and of the environment's *_JSON and *_SCREENSHOTS.
std::vector<std::filesystem::path> outputFolders(const std::string& gtestOutput);

/// What a body may do without such a namespace.
enum class Unguarded { refuse, run };

/// Calls `body` in a child process in a mount namespace of its own in which the machine is read-only but for
/// a scratch folder, which is the folder of temporary files there and goes afterwards. Its exit code; 125
/// where the namespace cannot be had, unless `unguarded` says otherwise.
int runGuarded(const std::vector<std::filesystem::path>& outputs, Unguarded unguarded,
               const std::function<int()>& body);

}  // namespace fallbackd::test
