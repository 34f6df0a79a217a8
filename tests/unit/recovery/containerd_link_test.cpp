// SPDX-License-Identifier: Apache-2.0
#include "recovery/containerd_link.hpp"

#include <chrono>

#include <gtest/gtest.h>

namespace fallbackd::recovery {
namespace {

using namespace std::chrono_literals;
using News = ContainerdLink::News;

TEST(ContainerdLink, IsReportedAtOnceAndThenOnceAMinute) {
  ContainerdLink link("/run/c.sock");
  const Stamp start{};
  EXPECT_FALSE(link.connected());
  EXPECT_EQ(link.report(false, "no such file", start), News::unreachable) << "at once";
  EXPECT_EQ(link.report(false, "refused", start + 50ms), News::none);
  EXPECT_EQ(link.why(), "refused") << "status has the newest reason";
  EXPECT_EQ(link.report(false, "refused", start + 59s), News::none);
  EXPECT_EQ(link.report(false, "refused", start + 60s), News::still);
  EXPECT_EQ(link.report(false, "refused", start + 119s), News::none);
  EXPECT_EQ(link.report(false, "refused", start + 120s), News::still);
  EXPECT_EQ(link.report(true, "", start + 121s), News::connected);
  EXPECT_TRUE(link.connected());
  EXPECT_EQ(link.why(), "");
  EXPECT_EQ(link.report(false, "closed", start + 122s), News::lost)
      << "at once, however short the interruption";
  EXPECT_EQ(link.report(false, "refused", start + 123s), News::none);
  EXPECT_EQ(link.socket(), "/run/c.sock");
}

TEST(ContainerdLink, TheReasonIsThatOfTheSocket) {
  ContainerdLink link("/run/c.sock");
  link.report(
      false,
      "containerd: unavailable: Events.Publish: failed to connect to all addresses; last error: UNKNOWN: "
      "unix:/run/c.sock: Permission denied",
      Stamp{});
  EXPECT_EQ(link.why(), "Permission denied");
  link.report(false, "containerd: timeout: Containers.List: Deadline Exceeded", Stamp{});
  EXPECT_EQ(link.why(), "containerd: timeout: Containers.List: Deadline Exceeded");
}

}  // namespace
}  // namespace fallbackd::recovery
