// SPDX-License-Identifier: Apache-2.0
// How the daemon reads what credentials need: by worker processes, since files and programs may hang.
#pragma once

#include "base/error.hpp"
#include "cri/runtime.hpp"
#include "watcher/credential_providers.hpp"
#include "workers/pool.hpp"

#include <memory>
#include <string>

namespace fallbackd::app {

/// Reads a file with credentials. It may be a pod's pull secret, on any file system.
cri::Awaitable<Result<std::string>> readByWorker(std::shared_ptr<workers::Pool> pool, std::string path);

/// Runs a credential provider of kubelet.
cri::Awaitable<Result<std::string>> runByWorker(std::shared_ptr<workers::Pool> pool,
                                                watcher::ProviderProgram program);

}  // namespace fallbackd::app
