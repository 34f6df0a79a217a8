// SPDX-License-Identifier: Apache-2.0
// A launcher with the real spawner, and its surroundings.
#pragma once

#include "content_of.hpp"
#include "fake_sandbox.hpp"
#include "launcher/local_launcher.hpp"

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

namespace fallbackd::test {

namespace asio = boost::asio;
using ProcessPtr = std::unique_ptr<launcher::Process>;

/// What the probe printed: every value of a key, in order.
class ProbeOutput {
 public:
  explicit ProbeOutput(const std::string& criLog);
  /// The only value of `key`; fails the test if there is none.
  [[nodiscard]] std::string one(const std::string& key) const;
  [[nodiscard]] std::vector<std::string> all(const std::string& key) const;
  [[nodiscard]] int number(const std::string& key) const { return std::stoi(one(key)); }
  /// A field of /proc/self/status: status("CapEff").
  [[nodiscard]] std::string status(const std::string& field) const;

 private:
  std::map<std::string, std::vector<std::string>> values_;
};

class LaunchTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  /// Runs the loop until the coroutine ends.
  template <class T>
  T run(asio::awaitable<T> task) {
    std::optional<T> result;
    std::exception_ptr failure;
    asio::co_spawn(loop, std::move(task), [&](std::exception_ptr error, T value) {
      failure = error;
      result.emplace(std::move(value));
    });
    while (!result) loop.run_one();
    if (failure) std::rethrow_exception(failure);
    return std::move(*result);
  }

  [[nodiscard]] launcher::LocalLauncher::Options options() const;
  /// A launch of the probe with these arguments.
  launcher::LaunchRequest request(std::vector<std::string> args);
  Result<ProcessPtr> launch(launcher::LaunchRequest wanted) {
    return run(launcher->launch(std::move(wanted)));
  }
  /// The same launcher with other settings.
  void launcherWith(const launcher::LocalLauncher::Options& given);
  /// Why a launch is refused; fails the test if it succeeds.
  Error refusal(launcher::LaunchRequest wanted);
  /// Launches; fails the test if the launch fails.
  ProcessPtr launched(launcher::LaunchRequest wanted);
  launcher::ExitStatus stop(const ProcessPtr& process,
                            std::chrono::nanoseconds grace = std::chrono::nanoseconds(0)) {
    return run(process->stop(grace));
  }
  /// The log of the launch once it contains `text`; waits for some seconds at most.
  std::string logWith(const ProcessPtr& process, const std::string& text);
  /// Launches "report" and reads it.
  ProbeOutput reportOf(launcher::LaunchRequest wanted);
  std::filesystem::path makeVolume(const std::string& kind, const std::string& name);

  asio::io_context loop{1};
  std::filesystem::path folder;
  std::vector<sys::CgroupHierarchy> hierarchies;
  std::unique_ptr<FakeSandbox> sandbox;
  std::shared_ptr<sys::UniqueFd> probe;
  std::unique_ptr<launcher::LocalLauncher> launcher;

 private:
  /// What must be unchanged by a test.
  struct Traces {
    std::size_t fds = 0;
    std::string mounts;
    std::vector<int> children;
  };
  static Traces traces();
  Traces before_;
  unsigned counter_ = 0;
};

/// A sealed copy of a program, as the cache creates it.
std::shared_ptr<sys::UniqueFd> sealedCopy(const std::filesystem::path& program);

void writeText(const std::filesystem::path& path, const std::string& text);

}  // namespace fallbackd::test
