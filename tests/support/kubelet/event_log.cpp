// SPDX-License-Identifier: Apache-2.0
#include "kubelet/event_log.hpp"

#include <algorithm>

namespace fallbackd::e2e::model {

void EventLog::add(const std::string& pod, const std::string& container, const std::string& reason,
                   const std::string& message) {
  {
    const std::lock_guard lock(mutex_);
    events_.push_back({Monotonic::now(), pod, container, reason, message});
  }
  added_.notify_all();
}

std::optional<Event> EventLog::waitFor(const Matches& matches, std::chrono::nanoseconds ceiling) {
  std::unique_lock lock(mutex_);
  std::optional<Event> found;
  std::size_t looked = 0;
  added_.wait_for(lock, ceiling, [&] {
    for (; looked < events_.size() && !found; ++looked) {
      if (matches(events_[looked])) found = events_[looked];
    }
    return found.has_value();
  });
  return found;
}

std::optional<Event> EventLog::waitFor(const std::string& pod, const std::string& reason,
                                       std::chrono::nanoseconds ceiling) {
  return waitFor([&](const Event& one) { return one.pod == pod && one.reason == reason; }, ceiling);
}

bool EventLog::waitForCount(const std::string& pod, const std::string& reason, std::size_t count,
                            std::chrono::nanoseconds ceiling) {
  std::unique_lock lock(mutex_);
  return added_.wait_for(lock, ceiling, [&] {
    const auto there = std::count_if(events_.begin(), events_.end(), [&](const Event& one) {
      return one.pod == pod && one.reason == reason;
    });
    return static_cast<std::size_t>(there) >= count;
  });
}

std::vector<Event> EventLog::of(const std::string& pod, const std::string& reason) const {
  const std::lock_guard lock(mutex_);
  std::vector<Event> found;
  std::copy_if(events_.begin(), events_.end(), std::back_inserter(found),
               [&](const Event& one) { return one.pod == pod && one.reason == reason; });
  return found;
}

std::string EventLog::text() const {
  const std::lock_guard lock(mutex_);
  std::string out = "what the kubelet did:\n";
  for (const auto& one : events_) {
    out += std::to_string(static_cast<long>(toMillis(one.at - events_.front().at))) + " ms " + one.pod + " " +
           one.container + " " + one.reason + ": " + one.message + "\n";
  }
  return out;
}

}  // namespace fallbackd::e2e::model
