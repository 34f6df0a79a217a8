// SPDX-License-Identifier: Apache-2.0
// Whether the DaemonSet of this pod still exists. An uninstall ends the daemon by SIGTERM, as an upgrade
// does, but the DaemonSet is gone then. Helm removes the permissions at the same time, so a refusal counts,
// too, if the API server has shown the DaemonSet before and keeps refusing: an API server that has just
// started refuses everything until it has read the permissions.
//
// Thread: the calling coroutine's; not shared. Cancellation: a cancelled call throws operation_aborted.
#pragma once

#include "base/error.hpp"
#include "kube/access.hpp"

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::kube {

class OwnDaemonSet {
 public:
  /// For one answer.
  static constexpr std::chrono::seconds kLimit{2};
  /// How long a refusal is doubted.
  static constexpr std::chrono::seconds kDoubt{4};

  /// `name`: NAMESPACE/NAME, for which isName() is true.
  OwnDaemonSet(AccessSource access, std::string_view name);

  /// Whether the text is NAMESPACE/NAME.
  static bool isName(std::string_view text);

  /// Requests the DaemonSet until the API server has shown it. `notFound` is called once if the API server
  /// does not know it.
  boost::asio::awaitable<void> see(std::function<void()> notFound = nullptr);
  /// If false, nothing can show that it is gone.
  [[nodiscard]] bool seen() const { return seen_; }
  /// False if it exists, if it was never seen, or if the API server does not answer within the limit. While
  /// it refuses, the request is repeated until kDoubt is over: takes 7 s at most.
  boost::asio::awaitable<bool> isGone() const;

 private:
  AccessSource access_;
  std::string target_;
  bool seen_ = false;
};

}  // namespace fallbackd::kube
