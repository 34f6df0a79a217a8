// SPDX-License-Identifier: Apache-2.0
// A machine that tests cannot harm: every mount is read-only except for those that a run names. For programs
// that start and remove things as root. Call it from main(), before any thread exists.
#pragma once

#include "base/error.hpp"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace fallbackd::test {

/// Makes the mounts of this process's mount namespace, which must be its own and private, read-only,
/// including mounts hidden below others. Leaves /proc, /sys/fs/cgroup, /dev and the folders `writable`
/// writable, if they were. Checks the result: after an error nothing may run.
Result<> makeMachineReadOnly(const std::vector<std::filesystem::path>& writable);

/// Makes the writable `folder` the folder for temporary files in such a namespace.
Result<> keepTemporaryFilesIn(const std::filesystem::path& folder);

/// The folders for the results of this program's caller: those of --gtest_output (`gtestOutput`, as
/// "xml:FILE") and of the environment's *_JSON and *_SCREENSHOTS.
std::vector<std::filesystem::path> outputFolders(const std::string& gtestOutput);

/// Whether a body may run without such a namespace.
enum class Unguarded { refuse, run };

/// Where the scratch folder is: on disk, or in memory, where fsync returns at once.
enum class Scratch { disk, memory };

/// Calls `body` in a child process with its own mount namespace, in which the machine is read-only except for
/// a scratch folder. That is also the folder for temporary files, and is removed afterwards. Returns the
/// body's exit code, or 125 if the namespace cannot be created, unless `unguarded` allows to run without it.
int runGuarded(const std::vector<std::filesystem::path>& outputs, Unguarded unguarded, Scratch scratch,
               const std::function<int()>& body);

}  // namespace fallbackd::test
