// SPDX-License-Identifier: Apache-2.0
// Asks the API server for a pod's owners by name, once, within 500 ms. Thread: the calling coroutine's.
#pragma once

#include "base/clock.hpp"
#include "kube/access.hpp"
#include "kube/rollout.hpp"

#include <boost/asio/awaitable.hpp>

namespace fallbackd::kube {

class OwnerReader {
 public:
  static constexpr std::chrono::milliseconds kLimit{500};

  explicit OwnerReader(AccessSource access) : access_(std::move(access)) {}

  /// If an owner cannot be read in time the result is unknown, with the reason in `why`.
  boost::asio::awaitable<RolloutView> rollout(PodPtr pod) const;

 private:
  AccessSource access_;
};

}  // namespace fallbackd::kube
