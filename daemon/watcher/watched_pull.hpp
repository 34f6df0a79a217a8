// SPDX-License-Identifier: Apache-2.0
// A call of PullImage that is under way, and what is seen of it. For the sources of ProbePulls.
#pragma once

#include "base/async/event.hpp"
#include "watcher/probe_pulls.hpp"
#include "watcher/pull_watch.hpp"

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>

namespace fallbackd::watcher {

/// As sys::TcpConnection writes it; empty if the reference has a name for its host.
std::string peerOf(const ImageReference& reference);

struct ProbePulls::Pull {
  Pull(const boost::asio::any_io_executor& executor, Question asked, PullLimits given, PullWatch seen)
      : question(std::move(asked)),
        image(imageKeyOf(question)),
        limits(given),
        watch(std::move(seen)),
        done(executor),
        looked(executor) {}
  Question question;
  std::string image;
  PullLimits limits;
  PullWatch watch;
  std::set<std::uint64_t> before;  // the connections at its beginning, by cookie
  Stamp begun;
  bool provedHealthy = false;
  TaskGroup::Id task = 0;
  TaskGroup::Id lingering = 0;
  std::optional<cri::PullOutcome> outcome;
  Event done;    // the outcome is there
  Event looked;  // the store has answered
};

}  // namespace fallbackd::watcher
