// SPDX-License-Identifier: Apache-2.0
// kubelet's /pods as a source: the pods of this node from kubelet's memory, requested when a pod waits. Needs
// Kubernetes 1.33 and `get` on nodes/pods; nodes/proxy, which also authorises exec, is never used.
//
// Thread: the executor's. Cancellation: run() ends when it is cancelled.
#pragma once

#include "base/async/backoff.hpp"
#include "base/async/event.hpp"
#include "base/async/jitter.hpp"
#include "kube/access.hpp"
#include "kube/source.hpp"

#include <map>
#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::kube {

class Kubelet {
 public:
  /// `access` must pin kubelet's certificate: only that distinguishes kubelet from any other process on its
  /// port.
  Kubelet(const boost::asio::any_io_executor& executor, AccessSource access, PodSink& sink);

  /// Requests the specification of a waiting pod, even if it is known. Returns at once; many pods share one
  /// request.
  void refresh(const std::string& podUid);

  boost::asio::awaitable<void> run();

  [[nodiscard]] const SourceState& state() const { return state_.state(); }

 private:
  struct Wanted {
    Stamp since;
    unsigned asked = 0;  // answers that did not contain it
  };

  struct Failure {
    Error error;
    Outcome outcome;
  };
  using Answered = tl::expected<std::vector<PodPtr>, Failure>;

  boost::asio::awaitable<bool> ask();
  boost::asio::awaitable<Answered> podsNow();
  void deliver(std::vector<PodPtr> pods, Stamp asked);
  void forgetOld();

  const Clock& clock_;
  AccessSource access_;
  PodSink& sink_;
  StateKeeper state_;
  Backoff backoff_;
  Jitter jitter_;
  Event wake_;
  std::map<std::string, Wanted> wanted_;  // by uid
};

}  // namespace fallbackd::kube
