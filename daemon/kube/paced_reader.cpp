// SPDX-License-Identifier: Apache-2.0
#include "kube/paced_reader.hpp"

#include "base/async/loop_clock.hpp"
#include "base/async/pause.hpp"

#include <utility>

namespace fallbackd::kube {

PacedReader::PacedReader(const boost::asio::any_io_executor& executor, AccessSource access)
    : clock_(LoopClock::of(executor)), reader_(std::move(access)), gate_(executor, {kAtOnce, kAtOnce, 1}) {}

/// The pod's turn by its namespace's pace.
Stamp PacedReader::reserve(const std::string& namespaceName) {
  const auto now = clock_.now();
  std::erase_if(paces_, [&](const auto& one) { return one.second.isFull(now); });
  auto& pace = paces_.try_emplace(namespaceName, kInterval, kBurst).first->second;
  const auto turn = pace.next();
  pace.take(now);
  return turn;
}

boost::asio::awaitable<ObjectAnswers> PacedReader::read(std::string namespaceName, NamedObjects names) {
  // The wait is outside the gate: its places are for those whose turn it is.
  const auto turn = reserve(namespaceName);
  if (const auto now = clock_.now(); turn > now) co_await pauseFor(turn - now);
  // Named: GCC 12 destroys temporaries in a co_await expression twice.
  FairGroup group{FairGroup::Kind::chosen, namespaceName};
  const auto place = co_await gate_.enter(std::move(group));
  co_return co_await reader_.read(std::move(namespaceName), std::move(names));
}

}  // namespace fallbackd::kube
