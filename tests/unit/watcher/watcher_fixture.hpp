// SPDX-License-Identifier: Apache-2.0
// A Watcher with one workload, on a runtime under the test's control.
#pragma once

#include "fake_pod_specs.hpp"
#include "fake_runtime.hpp"
#include "fake_traffic.hpp"
#include "recording_listener.hpp"
#include "watcher/watcher.hpp"

#include <memory>
#include <utility>

#include <gtest/gtest.h>

namespace fallbackd::watcher {

using namespace std::chrono_literals;
using test::runUntil;

inline config::ConfigPtr makeConfig() {
  auto config = std::make_shared<config::Config>();
  config->detection.reprobeInterval = 20ms;
  config->containerd.resyncInterval = 20ms;
  config::Workload workload;
  workload.name = "checkout";
  workload.match = {"shop", {{"app", "checkout"}}, "main"};
  workload.image = "r.x/checkout:1";
  workload.binary = {"checkout", "1.8.3"};
  config->workloads.push_back(workload);
  return config;
}

struct WatcherTest : testing::Test {
  explicit WatcherTest(config::ConfigPtr given = makeConfig()) : config(std::move(given)) {
    runtime.events = &events;
  }
  ~WatcherTest() override {
    tasks.cancelAll();
    runUntil(loop, [&] { return tasks.empty(); });
  }
  void start() {
    tasks.spawn(watcher.run());
    ASSERT_TRUE(runUntil(loop, [&] { return seen.up; }));
  }
  /// Lets the loop go through several intervals of probing and listing.
  void settle() {
    const int before = runtime.calls;
    runUntil(loop, [&] { return runtime.calls >= before + 8; });
  }

  boost::asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
  test::FakeRuntime runtime;
  test::FakeEvents events{loop};
  test::FakeTraffic traffic;
  test::RecordingListener seen;
  test::FakePodSpecs specs;
  config::ConfigPtr config;
  Watcher watcher{loop.get_executor(), runtime, events, traffic, seen, config, specs};
  TaskGroup tasks{loop.get_executor()};
};

}  // namespace fallbackd::watcher
