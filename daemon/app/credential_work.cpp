// SPDX-License-Identifier: Apache-2.0
#include "app/credential_work.hpp"

#include "workers/program.hpp"

#include <chrono>
#include <cstdint>
#include <utility>

namespace fallbackd::app {

using namespace std::chrono_literals;
using cri::Awaitable;

namespace {

constexpr auto kFileLimit = 2s;
// A slow program still gives credentials for the next probe; the pull itself waits for less.
constexpr auto kProviderLimit = 30s;
constexpr std::uint32_t kMaxProviderAnswer = 64 * 1024;

}  // namespace

Awaitable<Result<std::string>> readByWorker(std::shared_ptr<workers::Pool> pool, std::string path) {
  workers::Task task;
  task.work = workers::Work::read_file;
  task.stage = Stage::detection;
  task.owner = {"", path};
  task.what = "read " + path;
  task.bytes = path;
  task.limit = kFileLimit;
  auto outcome = co_await pool->run(std::move(task));
  if (!outcome) co_return tl::unexpected<Error>(outcome.error());
  co_return std::move(outcome->bytes);
}

Awaitable<Result<std::string>> runByWorker(std::shared_ptr<workers::Pool> pool,
                                           watcher::ProviderProgram program) {
  workers::Task task;
  task.stage = Stage::detection;
  task.owner = {"credential providers", program.name};  // no namespace has such a name
  task.what = "run " + program.name;
  task.limit = kProviderLimit + kFileLimit;  // the worker ends the program before that
  workers::ask(task, {std::move(program.folder), std::move(program.name), std::move(program.args),
                      std::move(program.env), std::move(program.input), kProviderLimit, kMaxProviderAnswer,
                      std::move(program.config)});
  auto outcome = co_await pool->run(std::move(task));
  if (!outcome) co_return tl::unexpected<Error>(outcome.error());
  co_return std::move(outcome->bytes);
}

}  // namespace fallbackd::app
