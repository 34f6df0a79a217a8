// SPDX-License-Identifier: Apache-2.0
// A machine that tests cannot harm: every mount is read-only except those that a run names. For programs that
// start and remove things as root. Call it from main(), before any thread exists.
#pragma once

#include "base/error.hpp"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace fallbackd::test {

/// Makes the mounts of this process's mount namespace, which must be its own and private, read-only,
/// including mounts hidden below others. Except /proc, /sys/fs/cgroup, /dev and the folders `writable`, if
/// they were writable. Checks the result: after an error nothing may be run.
Result<> makeMachineReadOnly(const std::vector<std::filesystem::path>& writable);

/// Makes the writable `folder` the folder for temporary files in such a namespace.
Result<> keepTemporaryFilesIn(const std::filesystem::path& folder);

/// Where the caller of this program wants its results: the folders of --gtest_output (`gtestOutput`, as
/// "xml:FILE") and of the environment's *_JSON and *_SCREENSHOTS.
std::vector<std::filesystem::path> outputFolders(const std::string& gtestOutput);

/// Whether a body may run without such a namespace.
enum class Unguarded { refuse, run };

/// Where the scratch folder is: on the disk, or in memory, where fsync returns at once.
enum class Scratch { disk, memory };

/// Calls `body` in a child process with its own mount namespace, in which the machine is read-only except for
/// a scratch folder. This is the folder for temporary files there, and is removed afterwards. Returns the
/// body's exit code, or 125 if the namespace cannot be created, unless `unguarded` says otherwise.
int runGuarded(const std::vector<std::filesystem::path>& outputs, Unguarded unguarded, Scratch scratch,
               const std::function<int()>& body);

}  // namespace fallbackd::test
