// SPDX-License-Identifier: Apache-2.0
// A source and its server on loopback, with the test's own clock.
#pragma once

#include "base/task_group.hpp"
#include "fake_clock.hpp"
#include "kube/authority.hpp"
#include "kube/fake_api_server.hpp"
#include "kube/fake_kubelet.hpp"
#include "kube/pods.hpp"
#include "loop_server.hpp"
#include "run_until.hpp"
#include "temp_folder.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>

namespace fallbackd::kube::test_support {

class SourceFixture : public testing::Test {
 protected:
  /// Ends the tasks before the objects that they use are destroyed.
  void TearDown() override {
    tasks.cancelAll();
    EXPECT_TRUE(test::runWhileTimeStands(loop, [&] { return tasks.empty(); })) << "run() does not end";
  }

  /// Runs until `done` without advancing the clock: it waits only for the network.
  bool soon(const std::function<bool()>& done) { return test::runWhileTimeStands(loop, done); }

  /// Runs until neither the loop nor the servers have anything left to do, without advancing the clock.
  void settle() {
    // The loop notices a server's action only after several turns.
    constexpr int kQuietTurns = 30;
    for (int quiet = 0; quiet < kQuietTurns; ++quiet) {
      loop.restart();
      if (loop.poll() > 0) quiet = 0;
      for (auto* const server : servers) server->turn();
    }
  }

  /// Like soon(), but advances the clock whenever nothing else is left to do, in growing steps.
  bool eventually(const std::function<bool()>& done) {
    constexpr int kSteps = 1000;
    constexpr std::chrono::milliseconds kFirst{250};
    constexpr std::chrono::milliseconds kLast{3000};
    auto length = kFirst;
    for (int step = 0; step < kSteps && !done(); ++step) {
      settle();
      if (!done()) clock.advance(loop, length);
      length = std::min(length * 2, kLast);
    }
    return done();
  }

  [[nodiscard]] SourceState state() const {
    const auto states = pods.sources();
    return states.empty() ? SourceState() : states.front();
  }
  [[nodiscard]] bool is(Health health) const { return state().health == health; }
  [[nodiscard]] std::uint64_t count(Outcome outcome) const {
    return state().requests.at(static_cast<std::size_t>(outcome));
  }

  /// The peers, for settle(): a derived class adds its own.
  std::vector<e2e::LoopServer*> servers;
  boost::asio::io_context loop{1};
  test::FakeClock& clock = test::FakeClock::install(loop);
  kube_test::Authority authority{"cluster"};
  test::TempFolder folder;
  Pods pods;
  TaskGroup tasks{loop.get_executor()};
};

}  // namespace fallbackd::kube::test_support
