// SPDX-License-Identifier: Apache-2.0
// The Events of a pod.
#include "recovery/pod_events.hpp"

#include <set>

#include <gmock/gmock.h>

namespace fallbackd::recovery {
namespace {

using namespace std::chrono_literals;
using Learnt = Wait::Learnt;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

const BinaryRef kBinary{"checkout", "1.8.3"};
constexpr const char* kWords =
    R"(failed to resolve reference "r/bank/vault:1": failed to do request: Head "https://r/v2/bank/vault/manifests/1": dial tcp 10.0.0.1:443: connect: connection refused)";

Incident incident(State state) {
  Incident one;
  one.binary = kBinary;
  one.state = state;
  one.address = "10.1.2.3:8080";
  one.stamps.waitingSince = Stamp(10s);
  return one;
}

TEST(PodEvents, NamesAreUniqueAndInTheStyleOfKubernetes) {
  std::set<std::string> names;
  for (int i = 0; i <= static_cast<int>(PodEventReason::fallback_observed); ++i) {
    const std::string name(toString(static_cast<PodEventReason>(i)));
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_THAT(name, testing::MatchesRegex("[A-Z][A-Za-z]+"));
  }
  EXPECT_EQ(names.size(), 12U);
}

TEST(PodEvents, APodWaitsForACauseInContainerdsWords) {
  const std::string words = kWords;
  const auto event = waits({Cause::unreachable, words}, kBinary);
  EXPECT_EQ(toString(event.reason), "WaitsForImage");
  EXPECT_TRUE(isWarning(event.reason));
  EXPECT_EQ(event.message,
            "The image cannot be pulled: its registry cannot be reached (unreachable); fallback "
            "checkout@1.8.3 is due: " +
                words);
}

/// A reader of this pod's Events may not be allowed to know about the other pod.
TEST(PodEvents, OnlyTheEndOfAnotherPodsErrorIsReported) {
  const std::string words = kWords;
  const auto event = waits({Cause::unreachable, words, Learnt::from_another}, kBinary);
  EXPECT_THAT(event.message, EndsWith("is due: dial tcp 10.0.0.1:443: connect: connection refused"));
  EXPECT_THAT(event.message, Not(HasSubstr("vault")));
  for (const std::string other :
       {"unexpected status from HEAD request to https://r/v2/bank/vault/manifests/1: 503",
        R"(Head "x": redirected to https://r/v2/bank/vault: 503)", ""}) {
    const auto silent = waits({Cause::server_error, other, Learnt::from_another}, kBinary);
    EXPECT_THAT(silent.message, EndsWith("(server_error); fallback checkout@1.8.3 is due"));
  }
  const std::string held = "kubelet is stuck behind the pull of r/bank/vault:1 for pod bank/vault-1";
  for (const auto learnt : {Learnt::from_this_pod, Learnt::from_another}) {
    const auto start = waits({Cause::not_started, held, learnt}, kBinary);
    EXPECT_EQ(toString(start.reason), "WaitsForStart");
    EXPECT_THAT(start.message, Not(HasSubstr("vault")));
  }
}

TEST(PodEvents, EveryCauseHasItsOwnClause) {
  std::set<std::string> messages;
  const std::string none;
  for (const auto name : causeNames()) {
    messages.insert(waits({*parseCause(name), none}, kBinary).message);
  }
  EXPECT_EQ(messages.size(), causeNames().size());
}

TEST(PodEvents, ServingSaysWhichBinaryAndHowFast) {
  auto one = incident(State::ready);
  one.stamps.started = Stamp(10s + 100ms);
  one.stamps.ready = Stamp(10s + 231ms);
  EXPECT_EQ(serving(one).message,
            "Fallback checkout@1.8.3 serves on 10.1.2.3:8080, 231 ms after the wait began");
  EXPECT_FALSE(isWarning(serving(one).reason));
  const auto first = serving(one).series;
  one.restarts = 2;
  EXPECT_EQ(serving(one).message, "Fallback checkout@1.8.3 serves on 10.1.2.3:8080 again, after restart 2");
  EXPECT_NE(serving(one).series, first) << "a restart must not overwrite the RTO";
  one.restarts = 0;
  one.adopted = true;
  EXPECT_EQ(serving(one).message, "Fallback checkout@1.8.3 serves on 10.1.2.3:8080")
      << "an earlier daemon measured the wait";
}

TEST(PodEvents, EveryEndIsReportedUnlessThePodIsGone) {
  auto one = incident(State::handed_back);
  EXPECT_EQ(toString(ended(one)->reason), "FallbackNotNeeded") << "nothing was started";
  one.stamps.started = Stamp(11s);
  one.stamps.ready = Stamp(12s);
  one.stamps.ended = Stamp(14s + 5ms);
  EXPECT_EQ(toString(ended(one)->reason), "FallbackHandedBack");
  EXPECT_EQ(ended(one)->message,
            "Fallback checkout@1.8.3 was handed back to the container; it had served for 2005 ms");
  EXPECT_EQ(toString(ended(incident(State::completed))->reason), "FallbackCompleted");
  EXPECT_EQ(toString(ended(incident(State::withdrawn))->reason), "FallbackNotNeeded");
  EXPECT_FALSE(ended(incident(State::pod_gone)));
  one = incident(State::failed);
  one.error = Error{Stage::admission, Reason::digest_mismatch, 0, "checkout is not what was signed"};
  EXPECT_EQ(toString(ended(one)->reason), "FallbackRefused");
  EXPECT_EQ(
      ended(one)->message,
      "Fallback checkout@1.8.3 was refused (admission/digest_mismatch): checkout is not what was signed");
  one.error = Error{Stage::rootfs, Reason::system, EACCES, "mount /proc"};
  EXPECT_EQ(toString(ended(one)->reason), "FallbackFailed");
  EXPECT_EQ(ended(one)->message,
            "Fallback checkout@1.8.3 failed (rootfs/system): mount /proc: Permission denied");
  EXPECT_TRUE(isWarning(ended(one)->reason));
}

TEST(PodEvents, AWithheldStartIsReported) {
  EXPECT_EQ(
      observed(kBinary, 11ms).message,
      "Fallback checkout@1.8.3 would have started 11 ms after the wait began; mode observe starts none");
  EXPECT_EQ(paused(kBinary, "bad release").message,
            "Fallback checkout@1.8.3 is not started: recoveries are paused (bad release)");
  EXPECT_EQ(paused(kBinary, "").message, "Fallback checkout@1.8.3 is not started: recoveries are paused");
  const auto refusal = observedRefusal(kBinary, {Stage::admission, Reason::expired, 0, "since yesterday"});
  EXPECT_EQ(refusal.message,
            "Observed: Fallback checkout@1.8.3 was refused (admission/expired): since yesterday");
}

}  // namespace
}  // namespace fallbackd::recovery
