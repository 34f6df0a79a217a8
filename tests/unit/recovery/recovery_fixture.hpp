// SPDX-License-Identifier: Apache-2.0
// Recoveries with fakes on all sides, and a pod "checkout" in the sandbox "s1" that may be recovered.
#pragma once

#include "fake_launcher.hpp"
#include "fake_pod_events.hpp"
#include "recovery/recoveries.hpp"
#include "telemetry/metrics.hpp"

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd::recovery {

using namespace std::chrono_literals;

struct FakeBinaries final : Binaries {
  boost::asio::awaitable<Result<cache::AdmittedPtr>> acquire(BinaryRef ref, Chooser /*chooser*/) override {
    if (refusal) co_return tl::unexpected<Error>(*refusal);
    auto admitted = std::make_shared<cache::Admitted>();
    admitted->ref = std::move(ref);
    admitted->executable = sys::UniqueFd(::memfd_create("copy", MFD_CLOEXEC));
    EXPECT_EQ(::fchmod(admitted->executable.get(), mode), 0);
    copies.emplace_back(admitted);
    co_return cache::AdmittedPtr(std::move(admitted));
  }
  void giveUp(const cache::AdmittedPtr& /*copy*/) override { ++givenUp; }
  int givenUp = 0;
  mode_t mode = 0555;  // of the copies
  std::vector<std::weak_ptr<const cache::Admitted>> copies;
  std::optional<Error> refusal;
};

inline config::ConfigPtr makeConfig() {
  auto config = std::make_shared<config::Config>();
  config::Workload workload;
  workload.name = "checkout";
  workload.match = {"shop", {}, "main"};
  workload.image = "r/checkout:1";
  workload.binary = {"checkout", "1.8.3"};
  workload.restart.initialDelay = 1ms;
  workload.restart.maxDelay = 4ms;
  workload.handBack.grace = 50ms;
  workload.terminationGrace = 3s;
  config->workloads.push_back(workload);
  return config;
}

struct RecoveryTest : testing::Test {
  using Kind = launcher::ExitStatus::Kind;

  RecoveryTest() {
    std::string name = std::filesystem::temp_directory_path() / "recovery-test-XXXXXX";
    folder = ::mkdtemp(name.data());
    journal.emplace(std::move(*Journal::open(folder)));
    journal->countIn(metrics.journal);
    services.emplace(
        Services{loop.get_executor(), runtime, binaries, launcher, *journal, metrics.recovery,
                 metrics.detection, metrics.orders, log, "node-1",
                 [this](config::Readiness, launcher::Place place) { return ready(std::move(place)); },
                 [this](decltype(config::Liveness::when), launcher::Place, std::chrono::nanoseconds) {
                   return alive();
                 },
                 [this](pid_t) { return nodeAddresses; }});
    services->podEvents = &podEvents;
    recoveries.emplace(*services, makeConfig());
    runtime.addSandbox("s1", "shop", "checkout");
  }
  ~RecoveryTest() override {
    stop(*recoveries);
    std::filesystem::remove_all(folder);
  }

  cri::Awaitable<Result<>> ready(launcher::Place place) {
    ++readyQuestions;
    askedAt = std::move(place);
    if (readyGate != nullptr) co_await readyGate->passed();
    co_return readyResult;
  }
  cri::Awaitable<Result<>> alive() {
    ++questions;
    if (deadAnswers == 0) co_return Result<>{};
    --deadAnswers;
    co_return fail(Stage::readiness, deadReason, "connection refused");
  }
  void stop(Recoveries& one) {
    bool stopped = false;
    boost::asio::co_spawn(loop, one.stop(), [&](const std::exception_ptr&) { stopped = true; });
    EXPECT_TRUE(test::runUntil(loop, [&] { return stopped; }));
  }
  void detect(const std::string& sandbox = "s1", std::optional<cri::SandboxStatus> status = std::nullopt) {
    watcher::Detection detection;
    detection.sandbox.id = sandbox;
    detection.sandbox.podUid = "uid-" + sandbox;
    if (runtime.sandboxes.contains(sandbox)) detection.sandbox = runtime.sandboxes[sandbox].sandbox;
    auto config = std::make_shared<config::Config>(*makeConfig());
    config->workloads[0].binary = binary;
    config->workloads[0].liveness = liveness;
    config->workloads[0].imageFrom = imageFrom;
    config->workloads[0].restart.policy = restartPolicy;
    config->workloads[0].mode = mode;
    config->workloads[0].settle = settle;
    config->workloads[0].detection.pullPolicy = pullPolicy;
    detection.workload = watcher::WorkloadPtr(config, &config->workloads[0]);
    config->workloads[0].handBack.on = handBackOn;
    config->workloads[0].handBack.when = handBackWhen;
    config->workloads[0].readiness = readiness;
    if (readyCommand) config->workloads[0].readiness.when = *readyCommand;
    detection.cause = cause;
    detection.status = std::move(status);
    detection.waitingSince = detection.failureKnown = clock.now();
    recoveries->detected(std::move(detection));
  }
  /// Reports a new container, as the watcher does.
  void kubeletMakes(const std::string& id, const std::string& name, const std::string& image = "r/checkout:1",
                    const std::string& imageId = "sha256:real") {
    cri::Container container{id, "s1", name, 0, cri::Container::State::created, image, imageId};
    recoveries->containerCreated("uid-s1", container);
  }
  State state() const {
    return recoveries->incidents().empty() ? State::failed : recoveries->incidents()[0].state;
  }
  bool reaches(State wanted) {
    return test::runUntil(loop, [&] { return !recoveries->incidents().empty() && state() == wanted; });
  }
  std::size_t journalled() const { return journal->read()->entries.size(); }
  bool metric(const std::string& line) const { return metrics.serialize().find(line) != std::string::npos; }

  boost::asio::io_context loop;
  test::FakeClock& clock = test::FakeClock::install(loop);
  test::FakeRuntime runtime;
  FakeBinaries binaries;
  test::FakeLauncher launcher{loop};
  telemetry::Metrics metrics{"test"};
  telemetry::Log log{config::LogFormat::json, config::LogLevel::error};
  std::string folder;
  std::optional<Journal> journal;
  test::FakePodEvents podEvents;
  std::optional<Services> services;
  std::optional<Recoveries> recoveries;
  test::Gate* readyGate = nullptr;
  Result<> readyResult;
  BinaryRef binary = makeConfig()->workloads[0].binary;
  std::optional<config::Liveness> liveness;
  std::optional<config::ReadyWhenCommand> readyCommand;  // empty: the fixture's own readiness
  Provenance imageFrom = Provenance::configuration;
  Cause cause = Cause::unreachable;
  config::HandBackOn handBackOn = config::HandBackOn::container;
  config::HandBackWhen handBackWhen = config::HandBackWhen::spread;
  config::Readiness readiness;
  std::optional<config::RestartPolicy> restartPolicy;
  std::optional<config::Mode> mode;
  std::optional<config::Settle> settle;
  std::optional<config::PullPolicy> pullPolicy;  // empty: by the tag
  int deadAnswers = 0;
  int questions = 0;
  int readyQuestions = 0;
  Reason deadReason = Reason::not_ready;
  std::optional<launcher::Place> askedAt;
  std::vector<std::string> nodeAddresses;
};

}  // namespace fallbackd::recovery
