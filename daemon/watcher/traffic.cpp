// SPDX-License-Identifier: Apache-2.0
#include "watcher/traffic.hpp"

#include "sys/file.hpp"
#include "watcher/unstick.hpp"

#include <utility>

namespace fallbackd::watcher {

namespace {

constexpr std::size_t kMaxEnvironment = 2 << 20;  // the kernel's limit for one program

}  // namespace

/// False if the process cannot be seen.
bool ContainerdTraffic::open() {
  const auto pid = sys::listenerOf(Stage::detection, socketPath_);
  if (!pid) return false;
  if (diagnosis_ && *pid == pid_) return true;
  auto opened = sys::TcpDiagnosis::open(Stage::detection, *pid);
  if (!opened) return false;
  diagnosis_.emplace(std::move(*opened));
  pid_ = *pid;
  return true;
}

std::optional<sys::TcpConnections> ContainerdTraffic::received() {
  if (!open()) return std::nullopt;
  auto bytes = diagnosis_->receivedBy(pid_);
  if (bytes) {
    if (!hidden_.empty()) std::erase_if(*bytes, [&](const auto& one) { return one.second.peer == hidden_; });
    return std::move(*bytes);
  }
  diagnosis_.reset();  // whatever an unfinished answer left in the socket goes with it
  return std::nullopt;
}

Result<> ContainerdTraffic::end(const sys::TcpConnection& connection) {
  if (!open()) return fail(Stage::detection, Reason::not_found, "process behind " + socketPath_);
  return diagnosis_->destroy(connection.id);
}

Result<> ContainerdTraffic::canEnd() {
  if (!open()) return fail(Stage::detection, Reason::not_found, "process behind " + socketPath_);
  return diagnosis_->canDestroy();
}

Result<std::set<std::string>> ContainerdTraffic::proxies() {
  if (!open()) return fail(Stage::detection, Reason::not_found, "process behind " + socketPath_);
  FB_TRY(const auto environment,
         sys::readFile(Stage::detection, "/proc/" + std::to_string(pid_) + "/environ", kMaxEnvironment));
  return proxiesIn(environment);
}

}  // namespace fallbackd::watcher
