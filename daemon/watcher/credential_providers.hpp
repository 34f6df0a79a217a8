// SPDX-License-Identifier: Apache-2.0
// kubelet's image credential providers, asked as kubelet asks them: programs that are given an image and
// give user and password. One io_context thread; nothing here blocks.
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

/// Gives the content of a file, or says that it does not come.
using FileReader = std::function<cri::Awaitable<Result<std::string>>(std::string path)>;

struct ProviderProgram {
  std::string folder;
  std::string name;
  std::vector<std::string> args;
  std::vector<std::string> env;  // NAME=VALUE
  std::string input;
  std::string config;  // the file that says all this
};
/// Runs a program and gives its output. It ends in the end, however the program behaves. Reason timeout or
/// too_large where the program went beyond its limits.
using ProgramRunner = std::function<cri::Awaitable<Result<std::string>>(ProviderProgram program)>;

/// Since the start.
struct ProviderCounts {
  // Runs, by what came of them.
  std::uint64_t given = 0;
  std::uint64_t none = 0;  // a good answer without credentials for the image
  std::uint64_t failed = 0;
  std::uint64_t malformed = 0;
  std::uint64_t tooLarge = 0;
  std::uint64_t timedOut = 0;
  /// Times that a pull was not kept waiting any longer for a run.
  std::uint64_t notWaitedFor = 0;
};

struct FoundCredentials {
  std::optional<cri::Credentials> credentials;
  std::string trouble;  // what a person should mend; empty: nothing
};

class CredentialProviders {
 public:
  explicit CredentialProviders(boost::asio::any_io_executor executor);

  void readFilesWith(FileReader reader) { reader_ = std::move(reader); }
  void runProgramsWith(ProgramRunner runner) { runner_ = std::move(runner); }

  /// Asks every provider that serves the image; the first of the file that has credentials counts. Returns
  /// after two seconds at most, with what is there by then. A run goes on meanwhile, and what it gives is
  /// kept for the next time. Where a provider did not answer in time, nobody else waits for it until it has.
  ///
  /// Those who ask at the same time for what one answer serves share one run. Only for images that the
  /// operator's configuration names.
  cri::Awaitable<FoundCredentials> find(config::CredentialProviders where, ImageReference reference);

  [[nodiscard]] const ProviderCounts& counts() const { return counts_; }
  /// Instead of two seconds.
  void waitAtMost(std::chrono::nanoseconds limit) { limit_ = limit; }

 private:
  using Providers = std::vector<config::CredentialProvider>;
  using Answer = ProviderCache::Answer;
  struct Run;
  /// What is remembered of a program.
  struct Habit {
    bool late = false;  // its last run took too long, or still does
    CacheKeyType keyType = CacheKeyType::image;
  };

  cri::Awaitable<Result<std::shared_ptr<const Providers>>> read(config::CredentialProviders where);
  /// Null where the program hangs, and so is not started again.
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
