// SPDX-License-Identifier: Apache-2.0
#include "spawner/report_order.hpp"

#include <array>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

namespace fallbackd::launcher {
namespace {

using Kind = ChildReport::Kind;

constexpr pid_t kSpare = 100;
constexpr pid_t kChild = 200;
constexpr pid_t kOther = 300;

std::array<char, sizeof(ChildReport)> bytesOf(const ChildReport& report) {
  std::array<char, sizeof(ChildReport)> bytes{};
  std::memcpy(bytes.data(), &report, sizeof report);
  return bytes;
}

TEST(ReportOrder, ALaunchReportsBirthThenExecution) {
  ReportOrder order(kSpare);
  EXPECT_TRUE(order.accept(kChild, Kind::born));
  EXPECT_EQ(order.child(), kChild);
  EXPECT_TRUE(order.accept(kChild, Kind::executing));
  EXPECT_TRUE(order.accept(kChild, Kind::failed)) << "execveat itself may fail";
  EXPECT_FALSE(order.accept(kChild, Kind::failed)) << "only once";
}

TEST(ReportOrder, AHealthCheckAloneIsTheEnd) {
  ReportOrder order(kSpare);
  EXPECT_FALSE(ReportOrder(kSpare).accept(kChild, Kind::healthy)) << "no child is born";
  EXPECT_TRUE(order.accept(kChild, Kind::born));
  EXPECT_TRUE(order.accept(kChild, Kind::healthy));
  for (const auto kind : {Kind::executing, Kind::failed, Kind::unhealthy, Kind::healthy})
    EXPECT_FALSE(order.accept(kChild, kind));
}

TEST(ReportOrder, OnlyTheChildReportsForItself) {
  for (const auto kind : {Kind::born, Kind::executing, Kind::failed, Kind::unhealthy, Kind::healthy}) {
    ReportOrder order(kSpare);
    ASSERT_TRUE(order.accept(kChild, Kind::born));
    EXPECT_FALSE(order.accept(kOther, kind));
    EXPECT_FALSE(order.accept(kSpare, kind));
    EXPECT_FALSE(order.accept(0, kind)) << "the kernel does not name the sender";
    EXPECT_EQ(order.child(), kChild);
  }
}

TEST(ReportOrder, BirthIsReportedOnceAndFirst) {
  ReportOrder order(kSpare);
  EXPECT_FALSE(order.accept(kChild, Kind::executing));
  EXPECT_TRUE(order.accept(kChild, Kind::born));
  EXPECT_FALSE(order.accept(kChild, Kind::born));
  EXPECT_TRUE(order.accept(kChild, Kind::executing));
  EXPECT_FALSE(order.accept(kChild, Kind::executing));
  EXPECT_FALSE(order.accept(kChild, Kind::unhealthy)) << "the health check is already over";
  ReportOrder other(kSpare);
  EXPECT_TRUE(other.accept(kChild, Kind::born) && other.accept(kChild, Kind::executing));
  EXPECT_FALSE(other.accept(kChild, Kind::healthy)) << "it executes a different program";
}

TEST(ReportOrder, ASpareCanOnlyFailAndIsNeverTheChild) {
  for (const auto kind : {Kind::born, Kind::executing, Kind::unhealthy, Kind::healthy}) {
    ReportOrder order(kSpare);
    EXPECT_FALSE(order.accept(kSpare, kind));
    EXPECT_EQ(order.child(), 0);
  }
  ReportOrder order(kSpare);
  EXPECT_TRUE(order.accept(kSpare, Kind::failed));
  EXPECT_FALSE(order.accept(kChild, Kind::born)) << "it is dead";
}

TEST(ChildReports, AWholeReportIsRead) {
  ChildReport report;
  report.kind = Kind::unhealthy;
  report.step = Step::health_check;
  report.value = 7;
  const auto read = decodeChildReport(bytesOf(report));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->kind, Kind::unhealthy);
  EXPECT_EQ(read->value, 7);
}

TEST(ChildReports, WrongSizesAndUnknownValuesAreRefused) {
  const auto good = bytesOf(ChildReport{});
  EXPECT_FALSE(decodeChildReport(std::span(good).first(good.size() - 1)));
  EXPECT_FALSE(decodeChildReport({}));
  for (const std::size_t offset : {offsetof(ChildReport, kind), offsetof(ChildReport, step),
                                   offsetof(ChildReport, health), offsetof(ChildReport, entersPids)}) {
    auto bad = good;
    bad[offset] = '\xff';
    EXPECT_FALSE(decodeChildReport(bad)) << offset;
  }
}

/// Whatever arrives, the child is one process, is born once, and no report counts after its end.
TEST(ReportOrder, RandomReportsDoNotBreakTheOrder) {
  std::minstd_rand random(1);
  for (int run = 0; run < 2000; ++run) {
    ReportOrder order(kSpare);
    int births = 0;
    int executions = 0;
    int ends = 0;
    for (int i = 0; i < 12; ++i) {
      constexpr std::array kSenders{kSpare, kChild, kOther, pid_t{0}, pid_t{-1}};
      const pid_t sender = kSenders[random() % kSenders.size()];
      const auto kind = static_cast<Kind>(random() % 4);
      const pid_t before = order.child();
      if (!order.accept(sender, kind)) continue;
      EXPECT_EQ(ends, 0);
      EXPECT_TRUE(before == 0 || order.child() == before);
      EXPECT_TRUE(sender == order.child() || (sender == kSpare && kind == Kind::failed));
      births += kind == Kind::born ? 1 : 0;
      executions += kind == Kind::executing ? 1 : 0;
      ends += kind == Kind::failed || kind == Kind::unhealthy ? 1 : 0;
    }
    EXPECT_LE(births, 1);
    EXPECT_LE(executions, births);
  }
}

}  // namespace
}  // namespace fallbackd::launcher
