// SPDX-License-Identifier: Apache-2.0
// The faults that a registry, a proxy, a mirror or a pod's author can cause, as rows of the table.
#pragma once

#include "detection.hpp"

#include <string>
#include <vector>

namespace fallbackd::e2e {

/// Each operation of a pull with each possible fault.
std::vector<Case> operationRows();
/// `dead` is an address where nothing listens.
std::vector<Case> redirectRows(const std::string& dead);
/// Needs a containerd whose HTTPS_PROXY is a ConnectProxy and whose HTTP_PROXY is dead.
std::vector<Case> proxyRows();
/// `dead`, `absent`, `down` and `refusing` are URLs of hosts: nothing listens; 404; 503; 403.
struct MirrorUrls {
  std::string dead;
  std::string absent;
  std::string down;
  std::string refusing;
};
std::vector<Case> mirrorRows(const MirrorUrls& urls);
/// Error texts in everything that a pod's author or a registry can write.
std::vector<Case> hostileRows();
std::vector<Case> slowRows();
/// Takes a minute; runs beside the others.
Case crawlingFromDockerHub();
/// Empty if this build does not know `restart.policy`.
std::vector<Case> jobRows(const std::string& dead);

/// Whether this build has the key, written as in config/reference.md: "detection.stallTimeout".
bool knowsKey(const std::string& key);

}  // namespace fallbackd::e2e
