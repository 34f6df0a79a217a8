// SPDX-License-Identifier: Apache-2.0
// Asks the API server for a pod's owners by name, once, within 500 ms. Pods of one owner share its answers.
// Thread: the calling coroutine's; one at a time.
#pragma once

#include "base/clock.hpp"
#include "kube/access.hpp"
#include "kube/rollout.hpp"

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include <boost/asio/awaitable.hpp>

namespace fallbackd::kube {

class OwnerReader {
 public:
  static constexpr std::chrono::milliseconds kLimit{500};

  explicit OwnerReader(AccessSource access) : access_(std::move(access)) {}

  /// If an owner cannot be read in time the result is unknown, with the reason in `why`.
  /// `maxAge`: of an answer about another pod of this owner. Zero for the first question about a pod: an
  /// answer from before it existed shows nothing about its revision.
  boost::asio::awaitable<RolloutView> rollout(PodPtr pod, std::chrono::nanoseconds maxAge);

 private:
  struct Found;
  struct Shared {
    Stamp at;  // of the question
    std::shared_ptr<const Found> found;
  };

  AccessSource access_;
  /// By all that a pod states about its controller: a pod that claims the uid of a different one gets none of
  /// its answers.
  std::map<std::string, Shared> shared_;
};

}  // namespace fallbackd::kube
