// SPDX-License-Identifier: Apache-2.0
// Kubelet's image manager: pulls one after the other (its default) or in parallel, and backs off after a
// failed pull, for each pod uid and image.
#pragma once

#include "kubelet/back_off.hpp"
#include "kubelet/event_log.hpp"
#include "kubelet/runtime.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <stop_token>
#include <string>

namespace fallbackd::e2e::model {

/// Thread-safe: workers of pods call it and block.
class Puller {
 public:
  Puller(Kubelet& kubelet, Runtime& runtime, EventLog& log, const Options& options);

  struct Outcome {
    bool present = false;
    std::string reason;  // why not: "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"
    std::string message;
  };
  /// Looks for the image once, before the pull's turn comes.
  Outcome ensure(const PodSpec& pod, const ContainerDefinition& container, const std::stop_token& stop);

 private:
  Outcome pull(const PodSpec& pod, const ContainerDefinition& container, const std::stop_token& stop);
  /// False: stopped while waiting.
  bool waitForTurn(std::uint64_t ticket, const std::stop_token& stop);
  void leave(std::uint64_t ticket);

  Kubelet& kubelet_;
  Runtime& runtime_;
  EventLog& log_;
  Pulls pulls_;
  std::mutex mutex_;
  std::condition_variable_any turn_;
  std::deque<std::uint64_t> queue_;  // the first one pulls; guarded by mutex_
  std::uint64_t tickets_ = 0;        // guarded by mutex_
  BackOff backOff_;                  // guarded by mutex_
};

}  // namespace fallbackd::e2e::model
