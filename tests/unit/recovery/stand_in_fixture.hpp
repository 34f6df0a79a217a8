// SPDX-License-Identifier: Apache-2.0
// A recovery with a stand-in.
#pragma once

#include "fake_pod_specs.hpp"
#include "fake_stand_ins.hpp"
#include "recovery_fixture.hpp"

#include <memory>
#include <optional>
#include <string>

namespace fallbackd::recovery {

struct StandInFixture : RecoveryTest {
  StandInFixture() {
    settle = config::Settle::always;
    services->standIns = &standIns;
    services->standInMetrics = &metrics.standIns;
    services->specs = &specs;
    recoveries.emplace(*services, configured());
    runtime.sandboxes["s1"].sandbox.createdAt = clock.wall();
  }
  ~StandInFixture() override { stop(*recoveries); }  // while the fakes below still exist
  StandInFixture(const StandInFixture&) = delete;
  StandInFixture& operator=(const StandInFixture&) = delete;

  config::ConfigPtr configured() const {
    auto config = std::make_shared<config::Config>(*makeConfig());
    config->workloads[0].settle = settle;
    config->workloads[0].detection.pullPolicy = pullPolicy;
    return config;
  }
  void settles() {
    detect();
    ASSERT_TRUE(test::runUntil(loop, [&] { return settled() == Settlement::State::settled; }));
  }
  void probe(watcher::Verdict::Kind kind) {
    const auto config = configured();
    watcher::Verdict verdict;
    verdict.kind = kind;
    verdict.cause = Cause::unreachable;
    recoveries->probed(config->workloads[0], verdict);
  }
  void pulled() { probe(watcher::Verdict::Kind::pulled); }
  void fails() { probe(watcher::Verdict::Kind::failed); }
  std::optional<Settlement::State> settled() const {
    const auto all = recoveries->incidents();
    return all.empty() || !all[0].settlement ? std::nullopt : std::optional(all[0].settlement->state);
  }
  std::string why() const { return recoveries->incidents()[0].settlement->why; }

  test::FakeStandIns standIns{loop};
  test::FakePodSpecs specs;
};

}  // namespace fallbackd::recovery
