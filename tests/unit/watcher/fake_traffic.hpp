// SPDX-License-Identifier: Apache-2.0
// Connections under the test's control.
#pragma once

#include "watcher/traffic.hpp"

#include <functional>

namespace fallbackd::test {

class FakeTraffic final : public watcher::Traffic {
 public:
  std::optional<sys::TcpConnections> received() override {
    if (onReceived) return onReceived();
    return std::nullopt;
  }
  Result<> end(const sys::TcpConnection& connection) override {
    if (!ends) return canEnd();
    if (refusal) {
      if (onRefused) onRefused();
      return fail(Stage::detection, *refusal, "refused");
    }
    const bool there = ends(connection);
    if (there) return {};
    return fail(Stage::detection, Reason::not_found, "gone");
  }
  Result<> canEnd() override {
    if (ends) return {};
    return fail(Stage::detection, cannotEnd, "cannot end connections");
  }
  Result<std::set<std::string>> proxies() override {
    if (hidesProxies) return fail(Stage::detection, Reason::system, "read its environment");
    return proxyAddresses;
  }

  std::function<bool(const sys::TcpConnection&)>
      ends;                              // false: the connection no longer exists; unset: see cannotEnd
  Reason cannotEnd = Reason::not_found;  // of the process
  std::optional<Reason> refusal;         // for each connection, although canEnd() succeeds
  std::function<void()> onRefused;
  std::set<std::string> proxyAddresses;
  bool hidesProxies = false;
  std::function<sys::TcpConnections()> onReceived;  // unset: connections cannot be read
};

}  // namespace fallbackd::test
