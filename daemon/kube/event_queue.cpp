// SPDX-License-Identifier: Apache-2.0
#include "kube/event_queue.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace fallbackd::kube {

using namespace std::chrono_literals;

namespace {

constexpr auto kPodInterval = 1s;
constexpr auto kCountingBlock = 10min;
constexpr auto kBlockMemory = 30min;

/// `later` happened after what `into` has.
void joinLater(OutgoingEvent& into, EventBatch later) {
  into.batch.count += later.count;
  into.batch.first = std::min(into.batch.first, later.first);
  into.batch.note = std::move(later.note);
}

}  // namespace

std::string_view toString(EventResult result) {
  static constexpr std::array kNames = {
#define X(name) std::string_view(#name),
      FALLBACKD_EVENT_RESULTS(X)
#undef X
  };
  return kNames.at(static_cast<std::size_t>(result));
}

void EventQueue::add(EventNote note, Stamp now) {
  const auto key = keyOf(note);
  EventBatch batch{std::move(note), {}, 1};
  batch.first = batch.note.at;
  const auto same = std::find_if(waiting_.begin(), waiting_.end(),
                                 [&](const auto& one) { return keyOf(one.batch.note) == key; });
  if (same != waiting_.end()) return joinLater(*same, std::move(batch));
  OutgoingEvent event;
  event.batch = std::move(batch);
  event.told = now;
  waiting_.push_back(std::move(event));
  limit();
}

/// Drops the oldest Events of the namespace that has the most, not those of others.
void EventQueue::limit() {
  while (waiting_.size() > kMaxWaiting) {
    std::map<std::string_view, std::size_t> waits;
    for (const auto& one : waiting_) ++waits[one.batch.note.namespaceName];
    const auto most = std::max_element(waits.begin(), waits.end(), [](const auto& left, const auto& right) {
                        return left.second < right.second;
                      })->second;
    const auto oldest = std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& one) {
      return waits.at(one.batch.note.namespaceName) == most;
    });
    waiting_.erase(oldest);
    count(EventResult::dropped_full);
  }
}

void EventQueue::dropOld(Stamp now) {
  const auto before = waiting_.size();
  std::erase_if(waiting_, [&](const auto& one) { return now - one.told > kMaxAge; });
  count(EventResult::dropped_late, before - waiting_.size());
}

void EventQueue::forgetOld(Stamp now) {
  std::erase_if(written_, [&](const auto& one) { return one.second.until <= now; });
  std::erase_if(pods_, [&](const auto& one) { return one.second.isFull(now); });
  std::erase_if(blocks_, [&](const auto& one) { return one.second.until <= now; });
}

const WrittenEvent* EventQueue::written(const EventNote& note, Stamp now) const {
  const auto found = written_.find(keyOf(note));
  return found == written_.end() || found->second.until <= now ? nullptr : &found->second.event;
}

bool EventQueue::mayCount(const std::string& namespaceName, Stamp now) const {
  const auto found = blocks_.find(namespaceName);
  return found == blocks_.end() || found->second.noCounting <= now;
}

/// When the limits of the pod, its namespace and its key allow it; the node's own pace comes on top.
Stamp EventQueue::dueAt(const OutgoingEvent& event) const {
  auto due = event.told + kSettle;
  if (const auto pod = pods_.find(event.batch.note.podUid); pod != pods_.end()) {
    due = std::max(due, pod->second.next());
  }
  if (const auto known = written_.find(keyOf(event.batch.note)); known != written_.end()) {
    due = std::max(due, known->second.countedNext);
  }
  if (const auto block = blocks_.find(event.batch.note.namespaceName); block != blocks_.end()) {
    due = std::max(due, block->second.noCreating);
  }
  return due;
}

EventQueue::Waiting::iterator EventQueue::nextDue(Stamp now) {
  std::map<std::string_view, Waiting::iterator> due;  // the oldest of each namespace
  for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
    if (dueAt(*it) <= now) due.try_emplace(it->batch.note.namespaceName, it);
  }
  if (due.empty()) return waiting_.end();
  const auto next = due.upper_bound(lastNamespace_);
  return next == due.end() ? due.begin()->second : next->second;
}

std::optional<OutgoingEvent> EventQueue::take(Stamp now) {
  dropOld(now);
  forgetOld(now);
  if (node_.next() > now) return std::nullopt;
  std::erase_if(waiting_, [&](const auto& one) {
    const auto& note = one.batch.note;
    const bool repeats = written(note, now) != nullptr && !mayCount(note.namespaceName, now);
    if (repeats) count(EventResult::dropped_repeat, one.batch.count);
    return repeats;
  });
  const auto found = nextDue(now);
  if (found == waiting_.end()) return std::nullopt;
  auto event = std::move(*found);
  waiting_.erase(found);
  const auto& note = event.batch.note;
  if (const auto* const known = written(note, now); known != nullptr) event.written = *known;
  lastNamespace_ = note.namespaceName;
  node_.take(now);
  pods_.try_emplace(note.podUid, kPodInterval, 1U).first->second.take(now);
  return event;
}

Stamp EventQueue::lookAgain(Stamp now) const {
  auto due = Stamp::max();
  for (const auto& event : waiting_) due = std::min(due, dueAt(event));
  // A repetition that may not be counted is dropped at the next look, whenever that is.
  return due == Stamp::max() ? due : std::max({due, node_.next(), now});
}

void EventQueue::sent(const OutgoingEvent& event, Stamp now) {
  const auto& note = event.batch.note;
  count(event.written ? EventResult::counted : EventResult::created);
  auto& entry = written_[keyOf(note)];
  if (event.written) {
    entry.event = *event.written;
    entry.event.count += event.batch.count;
  } else {
    entry.event = {event.name, event.batch.count, event.batch.first};
  }
  entry.until = now + kMaxAge;
  // A pod that is refused again and again must not make a request each time.
  entry.countedNext = now + entry.pause.next();
  if (auto block = blocks_.find(note.namespaceName); block != blocks_.end()) {
    block->second.noCreating = {};
    block->second.pause.reset();
  }
  if (written_.size() <= kMaxWritten) return;
  written_.erase(std::min_element(written_.begin(), written_.end(), [](const auto& a, const auto& b) {
    return a.second.until < b.second.until;
  }));
}

void EventQueue::putBack(OutgoingEvent event) {
  const auto key = keyOf(event.batch.note);
  event.written.reset();
  const auto same = std::find_if(waiting_.begin(), waiting_.end(),
                                 [&](const auto& one) { return keyOf(one.batch.note) == key; });
  if (same != waiting_.end()) {
    joinLater(event, std::move(same->batch));
    waiting_.erase(same);
  }
  waiting_.push_front(std::move(event));
  limit();
}

EventQueue::Block& EventQueue::blockOf(const std::string& namespaceName, Stamp now) {
  auto& block = blocks_[namespaceName];
  block.until = now + kBlockMemory;
  if (blocks_.size() > kMaxNamespaces) {
    const auto oldest = std::min_element(blocks_.begin(), blocks_.end(), [](const auto& a, const auto& b) {
      return a.second.until < b.second.until;
    });
    if (&oldest->second != &block) blocks_.erase(oldest);
  }
  return block;
}

void EventQueue::blockCreating(const std::string& namespaceName, Stamp now) {
  auto& block = blockOf(namespaceName, now);
  block.noCreating = now + block.pause.next();
}

void EventQueue::blockCounting(const std::string& namespaceName, Stamp now) {
  blockOf(namespaceName, now).noCounting = now + kCountingBlock;
}

}  // namespace fallbackd::kube
