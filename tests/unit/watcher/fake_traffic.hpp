// SPDX-License-Identifier: Apache-2.0
// Connections under the test's control.
#pragma once

#include "watcher/traffic.hpp"

#include <functional>

namespace fallbackd::test {

class FakeTraffic final : public watcher::Traffic {
 public:
  std::optional<sys::ReceivedBytes> received() override {
    if (onReceived) return onReceived();
    return std::nullopt;
  }
  std::function<sys::ReceivedBytes()> onReceived;  // unset: nothing can be seen
};

}  // namespace fallbackd::test
