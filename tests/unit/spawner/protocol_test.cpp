// SPDX-License-Identifier: Apache-2.0
#include "spawner/protocol.hpp"

#include "base/strings.hpp"
#include "sys/message_socket.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <random>
#include <span>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace fallbackd::launcher {
namespace {

LaunchOrder orderWithEverything() {
  LaunchOrder order;
  order.argv = {"checkout", "--port=8080", ""};
  order.healthArgv = {"checkout", "--health-check"};
  order.env = {"A=1", "EMPTY=", "EQUALS=a=b"};
  order.workingDir = "/var/lib";
  order.uid = 65532;
  order.gid = 65533;
  order.groups = {1, 2, 3};
  order.healthTimeoutNs = 2'000'000'000;
  order.tmpBytes = 64 << 20;
  order.oomScoreAdj = -997;
  order.files = {{"/etc/hosts", 0644, std::string("127.0.0.1\tlocalhost\n")}};
  order.mounts = {{"/etc/app", true}, {"/etc/one.conf", false}};
  order.capabilities = 1ULL << 40 | 1;
  order.seccomp = std::string(16, 'f');
  order.filterLetsWait = true;
  order.attributes = {{"attr/exec", "label"}};
  order.fileLabel = "file label";
  order.limits = {{7, 1, ~0ULL}};
  order.pids = PidNamespace::sandbox;
  order.sandboxPids = {3, 4026531836};
  order.sandboxUsers = true;
  order.rootUid = 100000;
  order.rootGid = 100001;
  order.unifiedCgroup = true;
  return order;
}

template <class Message>
std::string encoded(const Message& order) {
  auto bytes = encode(order);
  EXPECT_TRUE(bytes);
  return bytes.value_or("");
}

/// The reason for which the reader refuses an order.
Reason refusalOf(const LaunchOrder& order) {
  const auto decoded = decodeLaunch(encoded(order));
  EXPECT_FALSE(decoded);
  return decoded ? Reason::internal : decoded.error().reason;
}

TEST(Protocol, LaunchOrderKeepsEveryField) {
  const auto decoded = decodeLaunch(encoded(orderWithEverything()));
  ASSERT_TRUE(decoded);
  const auto& got = *decoded;
  const auto want = orderWithEverything();
  EXPECT_EQ(got.argv, want.argv);
  EXPECT_EQ(got.healthArgv, want.healthArgv);
  EXPECT_EQ(got.env, want.env);
  EXPECT_EQ(got.workingDir, want.workingDir);
  EXPECT_EQ(got.uid, want.uid);
  EXPECT_EQ(got.gid, want.gid);
  EXPECT_EQ(got.groups, want.groups);
  EXPECT_EQ(got.healthTimeoutNs, want.healthTimeoutNs);
  EXPECT_EQ(got.tmpBytes, want.tmpBytes);
  EXPECT_EQ(got.oomScoreAdj, want.oomScoreAdj);
  EXPECT_EQ(got.capabilities, want.capabilities);
  EXPECT_EQ(got.seccomp, want.seccomp);
  EXPECT_EQ(got.filterLetsWait, want.filterLetsWait);
  ASSERT_EQ(got.attributes.size(), 1U);
  EXPECT_EQ(got.attributes[0].file, "attr/exec");
  EXPECT_EQ(got.attributes[0].value, "label");
  EXPECT_EQ(got.fileLabel, want.fileLabel);
  ASSERT_EQ(got.limits.size(), 1U);
  EXPECT_EQ(got.limits[0].resource, 7U);
  EXPECT_EQ(got.limits[0].soft, 1U);
  EXPECT_EQ(got.limits[0].hard, ~0ULL);
  EXPECT_EQ(got.pids, PidNamespace::sandbox);
  EXPECT_EQ(got.sandboxPids, want.sandboxPids);
  EXPECT_TRUE(got.sandboxUsers);
  EXPECT_EQ(got.rootUid, 100000U);
  EXPECT_EQ(got.rootGid, 100001U);
  ASSERT_EQ(got.files.size(), 1U);
  EXPECT_EQ(got.files[0].path, "/etc/hosts");
  EXPECT_EQ(got.files[0].mode, 0644U);
  EXPECT_EQ(got.files[0].content, want.files[0].content);
  ASSERT_EQ(got.mounts.size(), 2U);
  EXPECT_TRUE(got.mounts[0].directory);
  EXPECT_EQ(got.mounts[1].path, "/etc/one.conf");
  EXPECT_FALSE(got.mounts[1].directory);
  EXPECT_TRUE(got.unifiedCgroup);
}

TEST(Protocol, ReportsKeepEveryField) {
  const auto started = decodeReport(*encode(Report(StartedReport{1, 4711, 10, 20, 30})));
  ASSERT_TRUE(started);
  const auto& process = std::get<StartedReport>(*started);
  EXPECT_EQ(process.pid, 4711);
  EXPECT_EQ(process.preparedNs, 10);
  EXPECT_EQ(process.healthCheckedNs, 20);
  EXPECT_EQ(process.startedNs, 30);

  const auto failed = decodeReport(
      *encode(Report(FailedReport{2, Stage::rootfs, Reason::unsafe_path, 40, "mount /etc/app"})));
  ASSERT_TRUE(failed);
  const auto& failure = std::get<FailedReport>(*failed);
  EXPECT_EQ(failure.id, 2U);
  EXPECT_EQ(failure.stage, Stage::rootfs);
  EXPECT_EQ(failure.reason, Reason::unsafe_path);
  EXPECT_EQ(failure.errnum, 40);
  EXPECT_EQ(failure.text, "mount /etc/app");

  const auto exited = decodeReport(*encode(Report(ExitedReport{3, true, 9})));
  ASSERT_TRUE(exited);
  EXPECT_TRUE(std::get<ExitedReport>(*exited).signaled);
  EXPECT_EQ(std::get<ExitedReport>(*exited).value, 9);
  EXPECT_TRUE(std::holds_alternative<ReadyReport>(*decodeReport(*encode(Report(ReadyReport{})))));
  EXPECT_EQ(std::get<SpareReport>(*decodeReport(*encode(Report(SpareReport{4})))).id, 4U);
  EXPECT_EQ(std::get<PassedReport>(*decodeReport(*encode(Report(PassedReport{5})))).id, 5U);
}

TEST(Protocol, OrdersToTheSpawnerKeepTheirContent) {
  const auto decoded = decodeOrder(encoded(Order(AbortOrder{42})));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(std::get<AbortOrder>(*decoded).id, 42U);
  EXPECT_TRUE(std::holds_alternative<SpareOrder>(*decodeOrder(encoded(Order(SpareOrder{})))));
}

std::string hexOf(const std::string& bytes) {
  return toHex(std::as_bytes(std::span(bytes)));
}

// To change these bytes, change the version, which is the digit in "FLB2".
TEST(Protocol, TheBytesAreThoseOfVersion2) {
  EXPECT_EQ(hexOf(encoded(Order(SpareOrder{}))), "464c423207000000");
  EXPECT_EQ(hexOf(encoded(Order(AbortOrder{42}))), "464c4232020000002a00000000000000");
  EXPECT_EQ(hexOf(encoded(Report(ReadyReport{}))), "464c423203000000");
  EXPECT_EQ(hexOf(encoded(Report(SpareReport{4}))), "464c4232080000000400000000000000");
  EXPECT_EQ(hexOf(encoded(Report(StartedReport{1, 4711, 10, 20, 30}))),
            "464c4232040000000100000000000000671200000a0000000000000014000000000000001e00000000000000");
  EXPECT_EQ(hexOf(encoded(Report(FailedReport{2, Stage{}, Reason{}, 40, "why"}))),
            "464c423205000000020000000000000000002800000003000000776879");
  EXPECT_EQ(hexOf(encoded(Report(ExitedReport{3, true, 9}))), "464c42320600000003000000000000000109000000");
  EXPECT_EQ(hexOf(encoded(Report(PassedReport{5}))), "464c4232090000000500000000000000");
  EXPECT_EQ(hexOf(encoded(orderWithEverything())),
            "464c4232010000000300000008000000636865636b6f75740b0000002d2d706f72743d3830383000000000020000"
            "0008000000636865636b6f75740e0000002d2d6865616c74682d636865636b0300000003000000413d3106000000"
            "454d5054593d0a000000455155414c533d613d62080000002f7661722f6c6962fcff0000fdff0000030000000100"
            "00000200000003000000009435770000000000000004000000001bfcffff01000000000100001000000066666666"
            "666666666666666666666666010100000009000000617474722f65786563050000006c6162656c0a00000066696c"
            "65206c6162656c01000000070000000100000000000000ffffffffffffffff010300000000000000fcffffef0000"
            "000001a0860100a1860100010000000a0000002f6574632f686f737473a4010000140000003132372e302e302e31"
            "096c6f63616c686f73740a02000000080000002f6574632f617070010d0000002f6574632f6f6e652e636f6e6600"
            "01");
}

TEST(Protocol, AnOrderMayConsistOfAHealthCheckAlone) {
  auto order = orderWithEverything();
  order.argv.clear();
  const auto decoded = decodeLaunch(encoded(order));
  ASSERT_TRUE(decoded);
  EXPECT_TRUE(decoded->argv.empty());
  EXPECT_EQ(decoded->healthArgv, order.healthArgv);
}

TEST(Protocol, EveryCutMessageIsRefused) {
  const auto bytes = encoded(orderWithEverything());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(decodeLaunch(std::string_view(bytes).substr(0, size))) << size;
  }
  EXPECT_FALSE(decodeLaunch(bytes + "x"));
}

TEST(Protocol, OrdersAndReportsAreNotConfused) {
  EXPECT_FALSE(decodeReport(encoded(orderWithEverything())));
  EXPECT_FALSE(decodeOrder(*encode(Report(ReadyReport{}))));
  EXPECT_FALSE(decodeOrder(encoded(orderWithEverything())));
  EXPECT_FALSE(decodeLaunch(encoded(Order(AbortOrder{42}))));
}

TEST(Protocol, DamagedMessagesNeverCrash) {
  std::mt19937 random(20260131);  // NOLINT(cert-msc51-cpp): the same damage in every run
  const auto bytes = encoded(orderWithEverything());
  for (int round = 0; round < 20000; ++round) {
    auto damaged = bytes;
    for (int i = 0; i < 3; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
    const auto decoded = decodeLaunch(damaged);
    EXPECT_TRUE(decoded || decoded.error().reason == Reason::protocol);
  }
}

TEST(Protocol, UnsafeOrdersAreRefused) {
  const auto with = [](auto change) {
    auto order = orderWithEverything();
    change(order);
    return refusalOf(order);
  };
  const auto nothingToRun = [](auto& o) {
    o.argv.clear();
    o.healthArgv.clear();
  };
  EXPECT_EQ(with(nothingToRun), Reason::protocol);
  EXPECT_EQ(with([](auto& o) { o.argv[1] = std::string("a\0b", 3); }), Reason::protocol);
  EXPECT_EQ(with([](auto& o) { o.env[0] = "NOVALUE"; }), Reason::protocol);
  EXPECT_EQ(with([](auto& o) { o.env[0] = "=x"; }), Reason::protocol);
  EXPECT_EQ(with([](auto& o) { o.workingDir = "relative"; }), Reason::protocol);
  EXPECT_EQ(with([](auto& o) { o.healthTimeoutNs = -1; }), Reason::protocol);
  EXPECT_EQ(with([](auto& o) { o.oomScoreAdj = 1001; }), Reason::protocol);
  for (const char* path : {"/", "", "etc", "/etc/../x", "/etc//x", "/etc/./x", "/etc/"}) {
    EXPECT_EQ(with([&](auto& o) { o.mounts[0].path = path; }), Reason::protocol) << path;
    EXPECT_EQ(with([&](auto& o) { o.files[0].path = path; }), Reason::protocol) << path;
  }
}

TEST(Protocol, ATooLargeOrderIsRefusedBeforeItIsSent) {
  auto order = orderWithEverything();
  order.env.emplace_back("BIG=" + std::string(sys::kMaxMessageBytes, 'x'));
  const auto bytes = encode(order);
  ASSERT_FALSE(bytes);
  EXPECT_EQ(bytes.error().reason, Reason::too_large);
}

TEST(Protocol, TheNumberOfDescriptorsMustMatchTheOrder) {
  const auto order = orderWithEverything();
  std::vector<sys::UniqueFd> fds;
  for (int i = 0; i < 2 + 2 + 2; ++i) fds.emplace_back(::dup(0));
  const auto numbers = std::vector<int>{fds[1].get(), fds[2].get(), fds[4].get()};
  const auto sorted = sortLaunchFds(order, std::move(fds));
  ASSERT_TRUE(sorted);
  EXPECT_EQ(sorted->sandbox.get(), numbers[0]);
  EXPECT_EQ(sorted->cgroupFolder.get(), numbers[1]);
  EXPECT_EQ(sorted->mounts.front().get(), numbers[2]);
  EXPECT_FALSE(sortLaunchFds(order, {}));
}

TEST(MessageSocket, CarriesBytesAndDescriptors) {
  auto ends = sys::makeMessageSockets();
  ASSERT_TRUE(ends);
  const int null = 0;
  ASSERT_TRUE(sys::sendMessage((*ends)[0], std::string("hello"), std::span(&null, 1), true));
  const auto message = sys::receiveMessage((*ends)[1], true);
  ASSERT_TRUE(message);
  EXPECT_EQ(message->bytes, "hello");
  ASSERT_EQ(message->fds.size(), 1U);
  EXPECT_NE(::fcntl(message->fds[0].get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(sys::receiveMessage((*ends)[1], true).error().reason, Reason::unavailable);
  (*ends)[0].reset();
  EXPECT_EQ(sys::receiveMessage((*ends)[1], true)->bytes, "");
  EXPECT_EQ(sys::sendMessage((*ends)[1], std::string("x"), {}, true).error().reason, Reason::spawner_gone);
}

TEST(MessageSocket, AMessageThatWasCutIsRefused) {
  auto ends = sys::makeMessageSockets();
  ASSERT_TRUE(ends);
  const std::string tooLong(sys::kMaxMessageBytes + 1, 'x');
  const int room = 1 << 20;
  ASSERT_EQ(::setsockopt((*ends)[0].get(), SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
  ASSERT_EQ(::send((*ends)[0].get(), tooLong.data(), tooLong.size(), MSG_DONTWAIT),
            static_cast<ssize_t>(tooLong.size()));
  const auto message = sys::receiveMessage((*ends)[1], true);
  ASSERT_FALSE(message);
  EXPECT_EQ(toString(message.error().reason), "protocol");
}

TEST(MessageSocket, DescriptorsAreReceivedIntoExistingRoom) {
  auto ends = sys::makeMessageSockets();
  ASSERT_TRUE(ends);
  std::array<int, 3> room{-1, -1, -1};
  const std::array<int, 2> sent{0, 0};
  const auto send = [&](const std::string& bytes, std::span<const int> fds) {
    ASSERT_TRUE(sys::sendMessage((*ends)[0], bytes, fds, true));
  };
  send("E", sent);
  ASSERT_EQ(sys::receiveDescriptors((*ends)[1].get(), 'E', room), 2);
  const sys::UniqueFd first(room[0]);
  const sys::UniqueFd second(room[1]);
  EXPECT_NE(::fcntl(second.get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(room[2], -1);

  const std::array<int, 4> tooMany{0, 0, 0, 0};
  for (const auto& [bytes, fds] :
       {std::pair<std::string, std::span<const int>>{"X", sent}, {"EE", sent}, {"E", tooMany}, {"E", {}}}) {
    send(bytes, fds);
    errno = 0;
    EXPECT_EQ(sys::receiveDescriptors((*ends)[1].get(), 'E', room), -1) << bytes << " with " << fds.size();
    EXPECT_EQ(errno, EPROTO);
  }
  (*ends)[0].reset();
  EXPECT_EQ(sys::receiveDescriptors((*ends)[1].get(), 'E', room), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

TEST(Protocol, PartialFiltersAndForeignAttributesAreRefused) {
  auto order = orderWithEverything();
  order.seccomp.pop_back();
  EXPECT_EQ(refusalOf(order), Reason::protocol);
  for (const char* file : {"../1/attr/exec", "/attr/exec", "", "attr//exec"}) {
    order = orderWithEverything();
    order.attributes[0].file = file;
    EXPECT_EQ(refusalOf(order), Reason::protocol) << file;
  }
}

}  // namespace
}  // namespace fallbackd::launcher
