// SPDX-License-Identifier: Apache-2.0
#include "launcher/pause_check.hpp"

#include "base/async/event.hpp"
#include "sys/process.hpp"

#include <chrono>
#include <optional>
#include <utility>

namespace fallbackd::launcher {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto kVerifyLimit = 5s;

}  // namespace

struct PauseCheck::Question {
  explicit Question(const asio::any_io_executor& executor) : answered(executor) {}
  std::optional<Result<pid_t>> answer;
  Event answered;

  static asio::awaitable<void> ask(std::shared_ptr<Question> self, VerifyPause verify,
                                   std::string sandboxId) {
    auto answer = co_await verify(std::move(sandboxId));
    self->answer = std::move(answer);
    self->answered.set();
  }
};

void PauseCheck::ask(LauncherParts& parts, std::string sandboxId) {
  if (!parts.verify) return;
  question_ = std::make_shared<Question>(parts.executor);
  parts.tasks.spawn(Question::ask(question_, parts.verify, std::move(sandboxId)));
}

asio::awaitable<Result<>> PauseCheck::confirm(const cri::SandboxStatus& status,
                                              const sys::PidFd& pause) const {
  const auto question = question_;
  if (question != nullptr && !question->answer) {
    co_await question->answered.waitFor(kVerifyLimit);
  }
  if (question != nullptr) {
    if (!question->answer) {
      co_return fail(Stage::containerd, Reason::timeout, "ask again for sandbox " + status.sandbox.id);
    }
    const auto& answer = *question->answer;
    if (!answer && isSilence(answer.error())) co_return tl::unexpected<Error>(answer.error());
    if (!answer || *answer != status.pausePid) {
      const std::string now = answer ? "pause process " + std::to_string(*answer) : answer.error().message();
      co_return fail(Stage::sandbox, Reason::sandbox_changed,
                     "sandbox " + status.sandbox.id + ": was pause process " +
                         std::to_string(status.pausePid) + ", now " + now);
    }
  }
  FB_CO_TRY(const bool pauseEnded, sys::hasEnded(Stage::sandbox, pause));
  if (pauseEnded) {
    co_return fail(Stage::sandbox, Reason::sandbox_gone,
                   "the pause process of sandbox " + status.sandbox.id + " ended");
  }
  co_return Result<>{};
}

}  // namespace fallbackd::launcher
