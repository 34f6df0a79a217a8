// SPDX-License-Identifier: Apache-2.0
// Decides which Event is written next, by what waits, what was written before, how often Events may be
// written, and in which namespaces they may not. Everything in it is bounded. One thread; does no I/O.
#pragma once

#include "base/async/backoff.hpp"
#include "kube/event_note.hpp"
#include "kube/pace.hpp"

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace fallbackd::kube {

// clang-format off
#define FALLBACKD_EVENT_RESULTS(X) \
  X(created) X(counted) X(failed) X(dropped_full) X(dropped_late) X(dropped_repeat) X(dropped_refused)
// clang-format on

/// What became of an Event: a closed list, which is also a metric label.
enum class EventResult : std::uint8_t {
#define X(name) name,
  FALLBACKD_EVENT_RESULTS(X)
#undef X
};
inline constexpr std::size_t kEventResults = static_cast<std::size_t>(EventResult::dropped_refused) + 1;
std::string_view toString(EventResult result);

/// An Event as the API server has it.
struct WrittenEvent {
  std::string name;
  std::uint64_t count = 0;
  Wall::time_point first;
};

/// An Event whose turn it is.
struct OutgoingEvent {
  EventBatch batch;
  Stamp told;                           // when the first of its notes came
  std::string name;                     // for creating it
  std::optional<WrittenEvent> written;  // it exists: only its count changes
  bool uncertain = false;               // an earlier attempt may have created it
  unsigned tries = 0;
};

class EventQueue {
 public:
  static constexpr std::size_t kMaxWaiting = 256;
  static constexpr std::size_t kMaxWritten = 512;
  static constexpr std::size_t kMaxNamespaces = 256;
  /// An Event waits at least this long, so that writing it takes no CPU time from a running recovery.
  static constexpr std::chrono::milliseconds kSettle{500};
  /// As long as API servers keep events.
  static constexpr std::chrono::hours kMaxAge{1};

  void add(EventNote note, Stamp now);
  /// The next Event that may be written now. Namespaces take turns; in each the oldest is first. It is out of
  /// the queue; sent() or putBack() follow, or it is dropped.
  std::optional<OutgoingEvent> take(Stamp now);
  /// When take() may give something; max if nothing waits.
  [[nodiscard]] Stamp lookAgain(Stamp now) const;

  void sent(const OutgoingEvent& event, Stamp now);
  /// It could not be written. Notes of the same key that were added meanwhile join it.
  void putBack(OutgoingEvent event);
  /// The API server does not have it any more.
  void forget(const EventNote& note) { written_.erase(keyOf(note)); }

  /// No Event is created there for a while: longer each time.
  void blockCreating(const std::string& namespaceName, Stamp now);
  void blockCounting(const std::string& namespaceName, Stamp now);

  [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }
  void count(EventResult result, std::uint64_t times = 1) {
    results_.at(static_cast<std::size_t>(result)) += times;
  }
  [[nodiscard]] const std::array<std::uint64_t, kEventResults>& results() const { return results_; }

 private:
  struct Written {
    WrittenEvent event;
    Stamp until;
    Stamp countedNext{};  // not before
    Backoff pause{{std::chrono::seconds(10), std::chrono::minutes(5)}};
  };
  struct Block {
    Stamp noCreating{};
    Stamp noCounting{};
    Backoff pause{{std::chrono::minutes(1), std::chrono::minutes(10)}};
    Stamp until{};  // when it is forgotten
  };
  using Waiting = std::list<OutgoingEvent>;

  /// The next that is due; namespaces take turns. end: none.
  Waiting::iterator nextDue(Stamp now);
  void limit();
  void dropOld(Stamp now);
  void forgetOld(Stamp now);
  [[nodiscard]] const WrittenEvent* written(const EventNote& note, Stamp now) const;
  [[nodiscard]] bool mayCount(const std::string& namespaceName, Stamp now) const;
  [[nodiscard]] Stamp dueAt(const OutgoingEvent& event) const;
  Block& blockOf(const std::string& namespaceName, Stamp now);

  Waiting waiting_;                      // oldest first
  std::string lastNamespace_;            // of the latest that was taken
  std::map<EventKey, Written> written_;  // those that are still remembered
  std::map<std::string, Pace> pods_;     // by uid; those with recent Events
  Pace node_{std::chrono::milliseconds(100), 10};
  std::map<std::string, Block> blocks_;  // by namespace
  std::array<std::uint64_t, kEventResults> results_{};
};

}  // namespace fallbackd::kube
