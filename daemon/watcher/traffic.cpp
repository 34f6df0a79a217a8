// SPDX-License-Identifier: Apache-2.0
#include "watcher/traffic.hpp"

#include <utility>

namespace fallbackd::watcher {

std::optional<sys::ReceivedBytes> ContainerdTraffic::received() {
  const auto pid = sys::listenerOf(Stage::detection, socketPath_);
  if (!pid) return std::nullopt;
  if (!diagnosis_ || *pid != pid_) {
    auto opened = sys::TcpDiagnosis::open(Stage::detection, *pid);
    if (!opened) return std::nullopt;
    diagnosis_.emplace(std::move(*opened));
    pid_ = *pid;
  }
  auto bytes = diagnosis_->receivedBy(pid_);
  if (bytes) return std::move(*bytes);
  diagnosis_.reset();  // whatever an unfinished answer left in the socket goes with it
  return std::nullopt;
}

}  // namespace fallbackd::watcher
