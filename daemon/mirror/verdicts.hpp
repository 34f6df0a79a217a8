// SPDX-License-Identifier: Apache-2.0
// Whether registries are healthy, as far as known. Each has at most one check at a time; its verdict counts
// for all callers that wait, and for a while after that. A registry that callers ask about is checked again
// before its verdict ends, so that pulls in quick succession do not wait for a check. One io_context thread.
#pragma once

#include "base/async/event.hpp"
#include "base/clock.hpp"
#include "base/task_group.hpp"
#include "mirror/check.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>

namespace fallbackd::mirror {

class Verdicts {
 public:
  using Check = std::function<boost::asio::awaitable<std::optional<Failing>>(std::string registry)>;
  /// How long a verdict counts.
  struct Validity {
    std::chrono::nanoseconds well = std::chrono::seconds(3);
    std::chrono::nanoseconds failing = std::chrono::seconds(10);
    /// The next check begins this long before a verdict ends, or at half its time; 0: only on request.
    std::chrono::nanoseconds ahead{0};
    /// Checks ahead go on for this long after the latest question.
    std::chrono::nanoseconds interest = std::chrono::minutes(2);
  };
  struct Verdict {
    std::optional<Failing> failing;  // empty: it is healthy
    Stamp until;
  };
  static constexpr std::size_t kMaxRegistries = 256;
  /// How many are checked ahead; anyone who creates pods can make up names.
  static constexpr std::size_t kMaxAhead = 32;

  Verdicts(const boost::asio::any_io_executor& executor, Check check, Validity validity)
      : executor_(executor),
        clock_(LoopClock::of(executor)),
        check_(std::move(check)),
        validity_(validity),
        tasks_(executor) {}

  /// What is known without a check; empty if nothing is, or it is out of date.
  [[nodiscard]] std::optional<Verdict> known(const std::string& registry);

  /// Starts a check if nothing is known; all callers wait for the same one.
  boost::asio::awaitable<Verdict> of(std::string registry);

  /// How many checks ended well, or with each cause.
  [[nodiscard]] const std::map<std::string, std::uint64_t>& counts() const { return counts_; }

 private:
  struct Entry {
    explicit Entry(const boost::asio::any_io_executor& executor) : done(executor) {}
    std::optional<Verdict> verdict;
    Stamp askedAt{};
    bool running = false;
    bool followed = false;  // its next check begins by itself
    Event done;             // set while no check runs
  };
  boost::asio::awaitable<void> run(std::string registry, std::shared_ptr<Entry> entry);
  boost::asio::awaitable<void> checkOnce(std::string registry, std::shared_ptr<Entry> entry);
  /// When the next check begins by itself; nothing if it does not.
  std::optional<Stamp> nextCheck(const std::string& registry, const Entry& entry);
  void makeRoom();

  boost::asio::any_io_executor executor_;
  const Clock& clock_;
  Check check_;
  Validity validity_;
  std::map<std::string, std::shared_ptr<Entry>> entries_;
  std::map<std::string, std::uint64_t> counts_;
  std::size_t followed_ = 0;
  TaskGroup tasks_;
};

}  // namespace fallbackd::mirror
