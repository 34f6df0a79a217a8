// SPDX-License-Identifier: Apache-2.0
// kubelet's image credential providers, asked as kubelet asks them: programs that take an image and return
// user and password. One io_context thread; nothing here blocks.
#pragma once

#include "base/clock.hpp"
#include "base/task_group.hpp"
#include "config/model.hpp"
#include "config/provider_file.hpp"
#include "cri/runtime.hpp"
#include "domain/image_reference.hpp"
#include "watcher/provider_cache.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

namespace fallbackd::watcher {

/// Returns the content of a file, or an error if it does not arrive.
using FileReader = std::function<cri::Awaitable<Result<std::string>>(std::string path)>;

struct ProviderProgram {
  std::string folder;
  std::string name;
  std::vector<std::string> args;
  std::vector<std::string> env;  // NAME=VALUE
  std::string input;
  std::string config;  // the file that says all this
};
/// Runs a program and returns its output. Always returns, however the program behaves. Reason timeout or
/// too_large if the program exceeded its limits.
using ProgramRunner = std::function<cri::Awaitable<Result<std::string>>(ProviderProgram program)>;

/// Since the start.
struct ProviderCounts {
  // Runs, by outcome.
  std::uint64_t given = 0;
  std::uint64_t none = 0;  // a good answer without credentials for the image
  std::uint64_t failed = 0;
  std::uint64_t malformed = 0;
  std::uint64_t tooLarge = 0;
  std::uint64_t timedOut = 0;
  /// How often a pull stopped waiting for a run.
  std::uint64_t notWaitedFor = 0;
};

struct FoundCredentials {
  std::optional<cri::Credentials> credentials;
  std::string trouble;  // what a person should fix; empty: nothing
};

class CredentialProviders {
 public:
  explicit CredentialProviders(boost::asio::any_io_executor executor);

  void readFilesWith(FileReader reader) { reader_ = std::move(reader); }
  void runProgramsWith(ProgramRunner runner) { runner_ = std::move(runner); }

  /// Asks every provider that serves the image; the first in the file that has credentials counts. Returns
  /// after two seconds at most, with what has arrived by then. A run continues, and its answer is kept for
  /// the next time. If a provider did not answer in time, no caller waits for it again until it has.
  ///
  /// Callers that can use the same answer at the same time share one run. Only for images that the operator's
  /// configuration names.
  cri::Awaitable<FoundCredentials> find(config::CredentialProviders where, ImageReference reference);

  [[nodiscard]] const ProviderCounts& counts() const { return counts_; }
  /// Instead of two seconds.
  void waitAtMost(std::chrono::nanoseconds limit) { limit_ = limit; }

 private:
  using Providers = std::vector<config::CredentialProvider>;
  using Answer = ProviderCache::Answer;
  struct Run;
  /// What is remembered about a program.
  struct Habit {
    bool late = false;  // its last run took too long, or still does
    CacheKeyType keyType = CacheKeyType::image;
  };

  cri::Awaitable<Result<std::shared_ptr<const Providers>>> read(config::CredentialProviders where);
  /// Null if the program hangs, and so is not started again.
  std::shared_ptr<Run> join(const config::CredentialProviders& where,
                            const config::CredentialProvider& provider, const ImageReference& reference);
  cri::Awaitable<void> perform(std::shared_ptr<Run> run, ProviderProgram program,
                               std::chrono::nanoseconds defaultDuration);
  cri::Awaitable<Result<Answer>> answerOf(config::CredentialProviders where,
                                          config::CredentialProvider provider, std::shared_ptr<Run> run,
                                          ImageReference reference, Stamp deadline);
  void count(const Run& run);

  boost::asio::any_io_executor executor_;
  const Clock& clock_;
  FileReader reader_;
  ProgramRunner runner_;
  std::chrono::nanoseconds limit_ = std::chrono::seconds(2);
  config::CredentialProviders readFrom_;
  std::string text_;  // of the file, as it was parsed
  std::shared_ptr<const Providers> providers_;
  ProviderCache cache_;
  std::map<std::string, Habit> habits_;                                       // by provider
  std::map<std::pair<std::string, std::string>, std::shared_ptr<Run>> runs_;  // by provider and cache key
  ProviderCounts counts_;
  TaskGroup tasks_;
};

}  // namespace fallbackd::watcher
