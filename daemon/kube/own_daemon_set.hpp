// SPDX-License-Identifier: Apache-2.0
// Whether the DaemonSet of this pod still exists. An uninstall ends the daemon as an upgrade does, by
// SIGTERM; but then the DaemonSet is gone. Helm removes the rights at the same time, so a refusal counts as
// well, if the API server has shown the DaemonSet before and goes on refusing: one that has just started
// refuses everybody until it has read the rights.
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
  /// For the answer to one question.
  static constexpr std::chrono::seconds kLimit{2};
  /// How long a refusal is doubted.
  static constexpr std::chrono::seconds kDoubt{4};

  /// `name`: NAMESPACE/NAME, for which isName() is true.
  OwnDaemonSet(AccessSource access, std::string_view name);

  /// Whether the text is NAMESPACE/NAME.
  static bool isName(std::string_view text);

  /// Asks again and again until the API server has shown it. `notFound` is called once if it does not know
  /// the name.
  boost::asio::awaitable<void> see(std::function<void()> notFound = nullptr);
  /// False: whether it is gone is never known.
  [[nodiscard]] bool seen() const { return seen_; }
  /// False if it exists, if it was never seen, or if the API server does not answer within the limit. While
  /// it refuses it is asked again, until kDoubt is over: takes 7 s at most.
  boost::asio::awaitable<bool> isGone() const;

 private:
  AccessSource access_;
  std::string target_;
  bool seen_ = false;
};

}  // namespace fallbackd::kube
