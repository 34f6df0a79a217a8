// SPDX-License-Identifier: Apache-2.0
// Which Event is next: the pace, repetitions, and which Events are dropped.
#include "kube/event_queue.hpp"

#include <gmock/gmock.h>

namespace fallbackd::kube {
namespace {

using namespace std::chrono_literals;

class EventQueueTest : public testing::Test {
 protected:
  void tell(const std::string& uid, const std::string& reason = "FallbackServing",
            const std::string& message = "m", const std::string& namespaceName = "shop") {
    EventNote note;
    note.namespaceName = namespaceName;
    note.pod = "pod-" + uid;
    note.podUid = uid;
    note.container = "main";
    note.reason = reason;
    note.message = message;
    note.at = wall;
    queue.add(std::move(note), now);
  }
  void pass(std::chrono::nanoseconds length) {
    now += length;
    wall += std::chrono::duration_cast<Wall::duration>(length);
  }
  /// Sends the next Event and returns its UID:REASONxCOUNT; "": none is due.
  std::string next() {
    auto event = queue.take(now);
    if (!event) return "";
    if (event->name.empty() && !event->written) event->name = "name-" + std::to_string(++names);
    queue.sent(*event, now);
    const auto before = event->written ? event->written->count : 0;
    return event->batch.note.podUid + ":" + event->batch.note.reason + "x" +
           std::to_string(before + event->batch.count);
  }
  [[nodiscard]] std::uint64_t count(EventResult result) const {
    return queue.results().at(static_cast<std::size_t>(result));
  }

  EventQueue queue;
  Stamp now{std::chrono::hours(1)};
  Wall::time_point wall{std::chrono::seconds(1770000000)};
  int names = 0;
};

TEST_F(EventQueueTest, NothingIsDueWhileARecoveryRuns) {
  tell("1");
  EXPECT_EQ(next(), "");
  EXPECT_EQ(queue.lookAgain(now), now + 500ms);
  pass(499ms);
  EXPECT_EQ(next(), "");
  pass(1ms);
  EXPECT_EQ(next(), "1:FallbackServingx1");
  EXPECT_EQ(queue.lookAgain(now), Stamp::max());
}

TEST_F(EventQueueTest, OneASecondForEachPodAndInOrder) {
  tell("1", "WaitsForImage");
  tell("1", "FallbackServing");
  tell("2", "WaitsForImage");
  pass(1s);
  EXPECT_EQ(next(), "1:WaitsForImagex1");
  EXPECT_EQ(next(), "2:WaitsForImagex1") << "the other pod need not wait";
  EXPECT_EQ(next(), "");
  EXPECT_EQ(queue.lookAgain(now), now + 1s);
  pass(999ms);
  EXPECT_EQ(next(), "");
  pass(1ms);
  EXPECT_EQ(next(), "1:FallbackServingx1");
}

TEST_F(EventQueueTest, NamespacesTakeTurns) {
  for (int i = 0; i < 5; ++i) tell("a" + std::to_string(i), "FallbackServing", "m", "noisy");
  tell("b0", "FallbackServing", "m", "bank");
  tell("s0", "FallbackServing", "m", "shop");
  pass(1s);
  EXPECT_EQ(next(), "b0:FallbackServingx1");
  EXPECT_EQ(next(), "a0:FallbackServingx1") << "within a namespace the oldest comes first";
  EXPECT_EQ(next(), "s0:FallbackServingx1");
  EXPECT_EQ(next(), "a1:FallbackServingx1");
}

TEST_F(EventQueueTest, ANamespaceWithManyEventsLosesItsOwn) {
  tell("quiet", "FallbackServing", "m", "bank");
  for (std::size_t i = 0; i < 2 * EventQueue::kMaxWaiting; ++i)
    tell("n" + std::to_string(i), "FallbackServing", "m", "noisy");
  EXPECT_EQ(queue.waiting(), EventQueue::kMaxWaiting);
  pass(1s);
  EXPECT_EQ(next(), "quiet:FallbackServingx1") << "the oldest of all was not dropped";
  EXPECT_EQ(next(), "n" + std::to_string(EventQueue::kMaxWaiting + 1) + ":FallbackServingx1");
  EXPECT_EQ(count(EventResult::dropped_full), EventQueue::kMaxWaiting + 1);
}

TEST_F(EventQueueTest, TheNodeHasAPaceToo) {
  for (int i = 0; i < 40; ++i) tell(std::to_string(i));
  pass(1s);
  int atOnce = 0;
  while (!next().empty()) ++atOnce;
  EXPECT_EQ(atOnce, 10);
  EXPECT_EQ(queue.lookAgain(now), now + 100ms);
  pass(1s);
  int later = 0;
  while (!next().empty()) ++later;
  EXPECT_EQ(later, 10);
}

TEST_F(EventQueueTest, WhatRepeatsIsCounted) {
  tell("1", "FallbackExited", "exit code 1");
  pass(200ms);
  tell("1", "FallbackExited", "exit code 2");
  EXPECT_EQ(queue.waiting(), 1U);
  pass(1s);
  auto event = queue.take(now);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->batch.count, 2U);
  EXPECT_EQ(event->batch.note.message, "exit code 2");
  EXPECT_EQ(event->batch.note.at - event->batch.first, 200ms);
  event->name = "the-one";
  queue.sent(*event, now);
  tell("1", "FallbackExited");
  EXPECT_EQ(queue.lookAgain(now), now + 10s) << "the pause is long: the same may happen all the time";
  pass(9s);
  EXPECT_FALSE(queue.take(now));
  pass(1s);
  event = queue.take(now);
  ASSERT_TRUE(event && event->written);
  EXPECT_EQ(event->written->name, "the-one");
  EXPECT_EQ(event->written->count, 2U);
  queue.sent(*event, now);
  tell("1", "FallbackExited");
  EXPECT_EQ(queue.lookAgain(now), now + 20s) << "the pause grows each time";
  pass(20s);
  EXPECT_EQ(next(), "1:FallbackExitedx4");
  EXPECT_EQ(count(EventResult::created), 1U);
  EXPECT_EQ(count(EventResult::counted), 2U);
  pass(1h);
  tell("1", "FallbackExited");
  pass(1s);
  EXPECT_EQ(next(), "1:FallbackExitedx1") << "the API server has deleted the Event by now";
}

TEST_F(EventQueueTest, APodThatFailsAllDayMakesFewRequests) {
  constexpr int kSeconds = 3600;
  int written = 0;
  for (int i = 0; i < kSeconds; ++i) {
    tell("1", "FallbackRefused");
    pass(1s);
    written += next().empty() ? 0 : 1;
  }
  EXPECT_LE(written, 20);
  EXPECT_GE(written, 12);
}

TEST_F(EventQueueTest, ARepetitionDuringAnAttemptJoinsIt) {
  tell("1", "FallbackExited", "first");
  pass(1s);
  auto event = queue.take(now);
  ASSERT_TRUE(event);
  event->name = "the-one";
  event->uncertain = true;
  tell("1", "FallbackExited", "second");
  tell("2");
  queue.putBack(std::move(*event));
  EXPECT_EQ(queue.waiting(), 2U);
  EXPECT_FALSE(queue.take(now)) << "the attempt counts towards its pod's pace";
  pass(1s);
  event = queue.take(now);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->batch.note.message, "second");
  EXPECT_EQ(event->batch.count, 2U);
  EXPECT_EQ(event->name, "the-one") << "the same Event is sent again, not a second one";
  EXPECT_TRUE(event->uncertain);
}

TEST_F(EventQueueTest, TheOldestAreDroppedAndCounted) {
  for (std::size_t i = 0; i < EventQueue::kMaxWaiting + 5; ++i) tell(std::to_string(i));
  EXPECT_EQ(queue.waiting(), EventQueue::kMaxWaiting);
  EXPECT_EQ(count(EventResult::dropped_full), 5U);
  pass(1s);
  EXPECT_EQ(next(), "5:FallbackServingx1");
  pass(2h);
  EXPECT_EQ(next(), "");
  EXPECT_EQ(count(EventResult::dropped_late), EventQueue::kMaxWaiting - 1);
  EXPECT_EQ(queue.waiting(), 0U);
}

TEST_F(EventQueueTest, MemoryIsBounded) {
  constexpr int kMany = 3000;
  int created = 0;
  for (int i = 0; i < kMany; ++i) {
    tell(std::to_string(i), "FallbackServing", "m", "ns-" + std::to_string(i));
    queue.blockCounting("ns-" + std::to_string(i), now);
    pass(1s);
    created += next().empty() ? 0 : 1;
  }
  EXPECT_EQ(created, kMany);
  tell("0", "FallbackServing", "m", "ns-0");
  pass(1s);
  EXPECT_EQ(next(), "0:FallbackServingx1") << "the queue no longer remembers that it was written";
}

TEST_F(EventQueueTest, ANamespaceWithoutRightsDelaysNoOther) {
  tell("1", "WaitsForImage", "m", "bank");
  tell("2", "WaitsForImage");
  pass(1s);
  auto event = queue.take(now);
  ASSERT_TRUE(event);
  queue.blockCreating("bank", now);
  queue.putBack(std::move(*event));
  EXPECT_EQ(next(), "2:WaitsForImagex1");
  EXPECT_EQ(next(), "");
  EXPECT_EQ(queue.lookAgain(now), now + 1min);
  pass(1min);
  event = queue.take(now);
  ASSERT_TRUE(event);
  queue.blockCreating("bank", now);
  queue.putBack(std::move(*event));
  EXPECT_EQ(queue.lookAgain(now), now + 2min) << "the pause grows each time";
  pass(2min);
  EXPECT_EQ(next(), "1:WaitsForImagex1");
  tell("1", "FallbackServing", "m", "bank");
  pass(1s);
  EXPECT_EQ(next(), "1:FallbackServingx1") << "the right was granted";
}

TEST_F(EventQueueTest, RepetitionsAreDroppedWhereCountingIsNotGranted) {
  tell("1", "FallbackExited");
  pass(1s);
  EXPECT_EQ(next(), "1:FallbackExitedx1");
  queue.blockCounting("shop", now);
  tell("1", "FallbackExited");
  tell("1", "FallbackServing");
  pass(1s);
  EXPECT_EQ(next(), "1:FallbackServingx1");
  EXPECT_EQ(count(EventResult::dropped_repeat), 1U);
  pass(11min);
  tell("1", "FallbackExited");
  pass(1s);
  EXPECT_EQ(next(), "1:FallbackExitedx2") << "tried again after a while";
}

}  // namespace
}  // namespace fallbackd::kube
