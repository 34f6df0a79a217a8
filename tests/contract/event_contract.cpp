// SPDX-License-Identifier: Apache-2.0
#include "base/async/within.hpp"
#include "contract.hpp"

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

namespace fallbackd::test {
namespace {

using namespace std::chrono_literals;
using Kind = cri::Event::Kind;
using Program = ContractNode::Program;
using testing::ElementsAre;

/// Reads until this many events about one id have arrived, or the stream ends.
cri::Awaitable<std::vector<cri::Event>> readAbout(cri::EventStream& stream, std::string id,
                                                  std::size_t count) {
  std::vector<cri::Event> events;
  while (events.size() < count) {
    auto event = co_await stream.next();
    if (!event) break;
    if (event->id == id) events.push_back(std::move(*event));
  }
  co_return events;
}

std::vector<Kind> kindsOf(const std::vector<cri::Event>& events) {
  std::vector<Kind> kinds;
  for (const auto& one : events) kinds.push_back(one.kind);
  return kinds;
}

cri::Awaitable<bool> endsWithError(cri::EventStream& stream) {
  for (;;) {
    const auto event = co_await stream.next();
    if (!event) co_return true;
  }
}

TEST_P(EventContract, ASandboxComesAndGoes) {
  const auto stream = subscribe();
  const auto pod = node->startPod("web-0");
  node->stopSandbox(pod);
  node->removeSandbox(pod);
  EXPECT_THAT(
      kindsOf(ask(readAbout(*stream, pod.sandboxId, 4))),
      ElementsAre(Kind::container_created, Kind::task_started, Kind::task_exited, Kind::container_deleted));
}

TEST_P(EventContract, AContainerComesAndGoesAndSaysHowItEnded) {
  const auto stream = subscribe();
  const auto pod = node->startPod("web-0");
  const auto id = node->createContainer(pod, "web", Program::fails);
  node->startContainer(id);
  node->endContainer(id);
  node->removeContainer(id);
  const auto events = ask(readAbout(*stream, id, 4));
  ASSERT_THAT(kindsOf(events), ElementsAre(Kind::container_created, Kind::task_started, Kind::task_exited,
                                           Kind::container_deleted));
  EXPECT_EQ(events[2].exitCode, ContractNode::kFailure);
  const auto now = LoopClock::of(node->loop().get_executor()).now();
  for (const auto& one : events) {
    EXPECT_LE(one.at, now);
    EXPECT_GT(one.at, now - 60s);
  }
}

TEST_P(EventContract, AnImageArrivesUnderItsName) {
  const auto stream = subscribe();
  const auto image = node->pullableImage();
  ASSERT_EQ(ask(node->runtime().pull(image, std::nullopt)).kind, cri::PullOutcome::Kind::pulled);
  EXPECT_THAT(kindsOf(ask(readAbout(*stream, image, 1))), ElementsAre(Kind::image_arrived));
}

TEST_P(EventContract, AnImageThatIsThereIsAnnouncedByEachPull) {
  const auto image = node->pullableImage();
  ASSERT_EQ(ask(node->runtime().pull(image, std::nullopt)).kind, cri::PullOutcome::Kind::pulled);
  const auto stream = subscribe();
  ASSERT_EQ(ask(node->runtime().pull(image, std::nullopt)).kind, cri::PullOutcome::Kind::pulled);
  EXPECT_THAT(kindsOf(ask(readAbout(*stream, image, 1))), ElementsAre(Kind::image_arrived));
}

TEST_P(EventContract, OnlyWhatHappensAfterTheSubscriptionIsSeen) {
  const auto before = node->startPod("before-0");
  const auto stream = subscribe();
  const auto after = node->startPod("after-0");
  std::set<std::string> ids;
  while (!ids.contains(after.sandboxId)) {
    const auto event = ask(stream->next());
    ASSERT_TRUE(event) << event.error().message();
    ids.insert(event->id);
  }
  EXPECT_FALSE(ids.contains(before.sandboxId));
}

TEST_P(EventContract, EachSubscriptionSeesAll) {
  const auto one = subscribe();
  const auto other = subscribe();
  const auto pod = node->startPod("web-0");
  for (const auto* stream : {&one, &other}) {
    EXPECT_THAT(kindsOf(ask(readAbout(**stream, pod.sandboxId, 2))),
                ElementsAre(Kind::container_created, Kind::task_started));
  }
}

TEST_P(EventContract, AWaitThatIsCancelledLosesNothing) {
  const auto stream = subscribe();
  EXPECT_FALSE(ask(within(50ms, stream->next())));
  const auto pod = node->startPod("web-0");
  EXPECT_THAT(kindsOf(ask(readAbout(*stream, pod.sandboxId, 2))),
              ElementsAre(Kind::container_created, Kind::task_started));
}

TEST_P(EventContract, ReceivedEventsAreDeliveredBeforeTheEndOfTheStream) {
  const auto stream = subscribe();
  const auto pod = node->startPod("web-0");
  EXPECT_THAT(kindsOf(ask(readAbout(*stream, pod.sandboxId, 1))), ElementsAre(Kind::container_created));
  node->kill();
  EXPECT_THAT(kindsOf(ask(readAbout(*stream, pod.sandboxId, 2))), ElementsAre(Kind::task_started));
  const auto end = ask(stream->next());
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().stage, Stage::containerd);
}

TEST_P(EventContract, WhileTheRuntimeIsAwayThereIsNoSubscription) {
  const auto before = subscribe();
  node->kill();
  EXPECT_TRUE(ask(endsWithError(*before)));
  const auto refused = ask(node->events().subscribe());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Reason::unavailable) << refused.error().message();
  node->restart();
  Stream stream;
  for (int attempt = 0; attempt < 100 && !stream; ++attempt) {
    if (attempt > 0) pause();
    auto again = ask(node->events().subscribe());
    if (again) stream = std::move(*again);
  }
  ASSERT_TRUE(stream);
  const auto pod = node->startPod("web-0");
  EXPECT_THAT(kindsOf(ask(readAbout(*stream, pod.sandboxId, 2))),
              ElementsAre(Kind::container_created, Kind::task_started));
}

}  // namespace
}  // namespace fallbackd::test
