// SPDX-License-Identifier: Apache-2.0
// A launcher with processes that run, die and stop under the test's control.
#pragma once

#include "base/async/pause.hpp"
#include "fake_runtime.hpp"
#include "launcher/launcher.hpp"

#include <algorithm>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace fallbackd::test {

/// The state of one process, shared by the test and the recovery.
struct FakeProcessState {
  explicit FakeProcessState(asio::io_context& loop) : ended(loop) {}
  launcher::LaunchRequest request;
  Gate ended;
  launcher::ExitStatus status;
  std::optional<launcher::ExitStatus> lateStatus;  // reported later
  int lateQuestions = 0;
  std::optional<std::chrono::nanoseconds> stoppedWithGrace;
  std::chrono::nanoseconds drains{};  // how long it continues after SIGTERM

  void die(launcher::ExitStatus::Kind kind, int value) {
    status.kind = kind;
    status.value = value;
    ended.open();
  }
};

class FakeProcess final : public launcher::Process {
 public:
  FakeProcess(std::shared_ptr<FakeProcessState> state, launcher::ProcessRecord record, Stamp now)
      : state_(std::move(state)), record_(std::move(record)) {
    times_ = {now, now, now, now};
  }
  [[nodiscard]] const launcher::ProcessRecord& record() const override { return record_; }
  [[nodiscard]] const launcher::LaunchTimes& times() const override { return times_; }
  asio::awaitable<launcher::ExitStatus> exited() override {
    co_await state_->ended.passed();
    co_return state_->status;
  }
  asio::awaitable<launcher::ExitStatus> exitedAndTold() override {
    const auto state = state_;
    ++state->lateQuestions;
    co_await state->ended.passed();
    if (state->lateStatus) state->status = *state->lateStatus;
    co_return state->status;
  }
  asio::awaitable<launcher::ExitStatus> stop(std::chrono::nanoseconds grace) override {
    const auto state = state_;
    if (!state->stoppedWithGrace) state->stoppedWithGrace = grace;  // the clean-up calls stop() once more
    if (state->drains.count() != 0) co_await pauseFor(std::min(state->drains, grace));
    state->ended.open();
    co_return state->status;
  }

 private:
  std::shared_ptr<FakeProcessState> state_;
  launcher::ProcessRecord record_;
  launcher::LaunchTimes times_;
};

class FakeLauncher final : public launcher::Launcher {
 public:
  explicit FakeLauncher(asio::io_context& loop) : loop_(loop) {}

  asio::awaitable<Result<std::unique_ptr<launcher::Process>>> launch(
      launcher::LaunchRequest request) override {
    if (refusals > 0) {
      --refusals;
      co_return fail(Stage::containerd, Reason::unavailable, "went away");
    }
    if (!failures.empty()) {
      auto failure = std::move(failures.front());
      failures.pop_front();
      co_return tl::unexpected<Error>(std::move(failure));
    }
    if (refusal) co_return tl::unexpected<Error>(*refusal);
    mostLaunching = std::max(mostLaunching, ++launching);
    begun.push_back(request.sandbox.sandbox.podNamespace);
    if (launchGate != nullptr) co_await launchGate->passed();
    --launching;
    if (refusal) co_return tl::unexpected<Error>(*refusal);  // an attempt that fails late
    launcher::ProcessRecord record;
    record.recoveryId = request.recoveryId;
    record.pid = static_cast<pid_t>(1000 + launched.size());
    auto state = std::make_shared<FakeProcessState>(loop_);
    state->request = std::move(request);
    launched.push_back(state);
    co_return std::unique_ptr<launcher::Process>(std::make_unique<FakeProcess>(state, record, now()));
  }
  asio::awaitable<Result<std::unique_ptr<launcher::Process>>> adopt(launcher::ProcessRecord record) override {
    ++adoptions;
    if (blindTo > 0) {
      --blindTo;
      co_return fail(Stage::run, Reason::system, "open process", EMFILE);
    }
    if (!adoptable) co_return fail(Stage::run, Reason::not_found, "no such process");
    auto state = std::make_shared<FakeProcessState>(loop_);
    adopted.push_back(state);
    co_return std::unique_ptr<launcher::Process>(
        std::make_unique<FakeProcess>(state, std::move(record), now()));
  }

  asio::awaitable<Result<>> probe(launcher::LaunchRequest like, std::vector<std::string> argv,
                                  std::chrono::nanoseconds timeout) override {
    probes.push_back({std::move(like), std::move(argv), timeout});
    mostProbing = std::max(mostProbing, ++probing);
    // Runs even if the probe is cancelled.
    const std::shared_ptr<void> over(nullptr, [this](void*) { --probing; });
    if (probeGate != nullptr) co_await probeGate->passed();
    if (probeAnswers.empty()) co_return Result<>{};
    auto answer = std::move(probeAnswers.front());
    probeAnswers.pop_front();
    co_return answer;
  }

  asio::awaitable<Remains> collectOrphans(std::vector<launcher::ProcessRecord> records) override {
    kept = std::move(records);
    co_return Remains{0, unclaimed, {}};
  }
  Result<bool> isIn(const launcher::ProcessRecord&, const cri::SandboxStatus&) override { return inSandbox; }
  launcher::Unclaimed lookAgain(const launcher::Unclaimed& one) override { return one; }
  asio::awaitable<unsigned> latestRestart(std::string, std::string container) override {
    co_return container == "main" ? restartsInLogs : 0;
  }
  asio::awaitable<void> discard(launcher::ProcessRecord record) override {
    discarded.push_back(record.pid);
    co_return;
  }

  struct ProbeRun {
    launcher::LaunchRequest like;
    std::vector<std::string> argv;
    std::chrono::nanoseconds timeout{};
  };
  std::vector<ProbeRun> probes;
  std::deque<Result<>> probeAnswers;  // successful when none is left
  Gate* probeGate = nullptr;          // probes wait for it
  std::size_t probing = 0;            // number of probes that run now
  std::size_t mostProbing = 0;
  Gate* launchGate = nullptr;  // launches wait for it
  std::size_t launching = 0;   // number of launches that wait now
  std::size_t mostLaunching = 0;
  std::vector<std::string> begun;  // namespaces, in the order in which their launches began
  std::vector<launcher::Unclaimed> unclaimed;
  bool inSandbox = true;
  unsigned restartsInLogs = 0;
  std::vector<pid_t> discarded;
  int adoptions = 0;
  int blindTo = 0;  // how many inspections of a process the kernel refuses
  std::optional<std::vector<launcher::ProcessRecord>> kept;  // the leaves that it must leave alone
  std::optional<Error> refusal;
  std::deque<Error> failures;  // of the next launches
  int refusals = 0;            // how often the runtime is unavailable during a launch
  bool adoptable = true;
  std::vector<std::shared_ptr<FakeProcessState>> launched;
  std::vector<std::shared_ptr<FakeProcessState>> adopted;

 private:
  [[nodiscard]] Stamp now() const { return LoopClock::of(loop_.get_executor()).now(); }

  asio::io_context& loop_;
};

}  // namespace fallbackd::test
