// SPDX-License-Identifier: Apache-2.0
// How one pod can affect the loop, the logs and the endpoints that all pods depend on.
#include "e2e_gtest.hpp"
#include "http.hpp"
#include "process.hpp"
#include "run_dir.hpp"
#include "shop.hpp"
#include "silent_fuse.hpp"
#include "sys/file.hpp"
#include "wait.hpp"

#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <netinet/in.h>
#include <poll.h>
#include <sstream>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;
using test::SilentFuse;
using testing::HasSubstr;

class Loop : public testing::Test {
 protected:
  void TearDown() override {
    // Comes first: a process that hangs in it cannot be killed earlier.
    fuse_.reset();
    clients_.clear();
    shop_.reset();
  }
  [[nodiscard]] std::string workload(const std::string& name, const std::string& more) const {
    return "- name: " + name + "\n  match: {namespace: shop, labels: {app: " + name +
           "}, container: checkout}\n  image: " + shop_->image() +
           "\n  binary: checkout@1.8.3\n  user: {uid: 65532, gid: 65533}\n" + more;
  }
  [[nodiscard]] std::optional<HttpAnswer> ask(const std::string& path) const {
    const auto answer = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), path, 5s);
    return answer ? std::optional(*answer) : std::nullopt;
  }
  [[nodiscard]] bool healthy() const {
    return waitUntil(kCeiling, [&] {
      const auto answer = ask("/healthz");
      return answer && answer->status == 200;
    });
  }
  [[nodiscard]] bool ready(const std::string& pod) const {
    return waitUntil(kCeiling, [&] { return recoveryState(*shop_->daemon, pod) == "ready"; });
  }
  [[nodiscard]] Result<std::string> status() const {
    return runOk({.argv = {binary("fallbackctl"), "status", "--socket", shop_->daemon->controlSocket()},
                  .env = {},
                  .output = {}},
                 kCeiling);
  }
  [[nodiscard]] sys::UniqueFd connectTcp(const std::string& from) const {
    sys::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int small = 4096;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    ::inet_pton(AF_INET, from.c_str(), &address.sin_addr);
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
    ::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    address.sin_port = htons(shop_->daemon->telemetryPort());
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
    return socket;
  }
  static void send(const sys::UniqueFd& socket, const std::string& text) {
    static_cast<void>(::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL));
  }
  /// The beginning of the answer; "" if there is none.
  static std::string receive(const sys::UniqueFd& socket) {
    pollfd polled{socket.get(), POLLIN, 0};
    std::array<char, 2048> bytes{};
    if (::poll(&polled, 1, 10'000) != 1) return "";
    const ssize_t size = ::recv(socket.get(), bytes.data(), bytes.size(), 0);
    return {bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
  }

  std::unique_ptr<Shop> shop_;
  std::unique_ptr<SilentFuse> fuse_;
  std::vector<sys::UniqueFd> clients_;
};

std::string textOf(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// User and system time of a process, in seconds.
double cpuSeconds(pid_t pid) {
  const auto stat = textOf("/proc/" + std::to_string(pid) + "/stat");
  std::istringstream fields(stat.substr(std::min(stat.rfind(')') + 1, stat.size())));
  std::string skipped;
  for (int i = 3; i < 14; ++i) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

/// The CPU time of the daemon with its helpers, which are its children.
double daemonCpu(pid_t daemon) {
  double seconds = cpuSeconds(daemon);
  const auto number = std::to_string(daemon);
  std::istringstream children(textOf("/proc/" + number + "/task/" + number + "/children"));
  for (pid_t child = 0; children >> child;) seconds += cpuSeconds(child);
  return seconds;
}

/// The number in the last complete line of a flood's log, or -1.
long lastLineOf(const std::filesystem::path& log) {
  const auto text = textOf(log);
  const auto end = text.rfind('\n');
  const auto at = end == std::string::npos ? end : text.rfind("flood ", end);
  if (at == std::string::npos) return -1;
  long number = -1;
  std::from_chars(text.data() + at + 6, text.data() + end, number);
  return number;
}

TEST_F(Loop, AVolumeThatNeverAnswersBlocksOnlyItsOwnPod) {
  RecordProperty("item", "7");
  RecordProperty("attack", "a pod's volume is a FUSE file system that never answers");
  E2E_TRY(shop_, Shop::open());
  E2E_TRY(const auto before, shop_->kubelet->startPod(checkoutPod("before")));
  ASSERT_TRUE(ready("before"));
  const auto served = fallbackPid(*shop_->daemon, "before");
  auto options = shop_->daemonOptions(shop_->image());
  options.workloads += workload("hostile", "  volumes: [{name: data, type: csi, mountPath: /data}]\n");
  E2E_CHECK(shop_->daemon->rewriteConfig(options));
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    const auto answer = ask("/status");
    return answer && answer->body.find("\"name\":\"hostile\"") != std::string::npos;
  }));

  auto hostile = checkoutPod("hostile");
  hostile.uid = makeUid();
  hostile.labels = {{"app", "hostile"}};
  hostile.volumes.clear();
  fuse_ = std::make_unique<SilentFuse>(shop_->kubelet->podsDir() / hostile.uid /
                                       "volumes/kubernetes.io~csi/data/mount");
  ASSERT_TRUE(fuse_->mounted()) << fuse_->error();
  E2E_TRY(const auto hanging, shop_->kubelet->startPod(hostile));
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return fuse_->asked() > 0; })) << "the daemon must access the volume";

  EXPECT_TRUE(healthy()) << "/healthz fails: the loop hangs in the pod's volume";
  E2E_TRY(const auto honest, shop_->kubelet->startPod(checkoutPod("honest")));
  EXPECT_TRUE(ready("honest")) << "an honest pod gets no fallback: detection hangs";

  shop_->daemon->kill();
  ASSERT_FALSE(std::filesystem::exists("/proc/" + std::to_string(shop_->daemon->pid())))
      << "the daemon hangs in the volume, SIGKILL does not end it, and no other can start";
  E2E_CHECK(shop_->daemon->restart());
  ASSERT_TRUE(ready("before")) << "the running fallback is not adopted while the volume hangs";
  EXPECT_EQ(fallbackPid(*shop_->daemon, "before"), served);
  E2E_TRY(const auto late, shop_->kubelet->startPod(checkoutPod("late")));
  EXPECT_TRUE(ready("late")) << "after a restart an honest pod gets no fallback";
  EXPECT_TRUE(healthy()) << "/healthz fails after a restart";
  E2E_TRY(const auto code, shop_->daemon->stop());
  EXPECT_EQ(code, 0) << "the daemon cannot be stopped while the volume hangs";
}

TEST_F(Loop, FloodsOfLogLinesSlowOnlyTheFlood) {
  RecordProperty("item", "6");
  RecordProperty("attack", "eight pods write log lines as fast as they can");
  constexpr int kFloods = 8;
  constexpr auto kWindow = 6s;
  constexpr double kMaxLinesPerSecond = 40'000;  // of one flood; four times the configured rate
  constexpr double kMaxCpu = 0.5;                // of a core, for all of them
  E2E_TRY(shop_, Shop::open());
  auto options = shop_->daemonOptions(shop_->image());
  options.workloads +=
      workload("flood", "  args: [--port=8080, --flood]\n  readiness: {tcp: {port: 8080}}\n");
  E2E_CHECK(shop_->daemon->rewriteConfig(options));
  ASSERT_TRUE(waitUntil(kCeiling, [&] {
    const auto answer = ask("/status");
    return answer && answer->body.find("\"name\":\"flood\"") != std::string::npos;
  }));
  std::vector<std::filesystem::path> logs;
  for (int i = 0; i < kFloods; ++i) {
    auto spec = checkoutPod("flood-" + std::to_string(i));
    spec.labels = {{"app", "flood"}};
    spec.volumes.clear();
    E2E_TRY(const auto pod, shop_->kubelet->startPod(spec));
    logs.push_back(pod.logDirectory / "checkout-fallback" / "0.log");
    ASSERT_TRUE(ready(spec.name)) << shop_->daemon->logText();
  }
  // The burst of the first seconds is allowed.
  ASSERT_TRUE(waitUntil(kCeiling, [&] { return lastLineOf(logs.back()) > 25'000; }));

  const Stopwatch watch;
  const double cpuBefore = daemonCpu(shop_->daemon->pid());
  std::vector<long> linesBefore;
  for (const auto& log : logs) linesBefore.push_back(lastLineOf(log));
  E2E_TRY(const auto honest, shop_->kubelet->startPod(checkoutPod("honest")));
  EXPECT_TRUE(ready("honest")) << "an honest pod beside the floods gets no fallback";
  const bool logged = waitUntil(kCeiling, [&] {
    return textOf(honest.logDirectory / "checkout-fallback" / "0.log").find("starts") != std::string::npos;
  });
  EXPECT_TRUE(logged) << "the honest pod's own lines do not arrive";
  std::this_thread::sleep_for(kWindow - std::min<Monotonic::duration>(kWindow, watch.elapsed()));

  double most = 0;
  for (int i = 0; i < kFloods; ++i) {
    const auto at = static_cast<std::size_t>(i);
    most = std::max(most, static_cast<double>(lastLineOf(logs[at]) - linesBefore[at]));
  }
  const double seconds = watch.millis() / 1000;
  const double cpu = (daemonCpu(shop_->daemon->pid()) - cpuBefore) / seconds;
  RecordProperty("measured", std::to_string(cpu) + " of a core, " + std::to_string(most / seconds) +
                                 " lines a second of one flood");
  std::printf("floods: %.2f of a core, %.0f lines a second of one of them\n", cpu, most / seconds);
  EXPECT_LT(most / seconds, kMaxLinesPerSecond) << "lines a second that the daemon copies for one flood";
  EXPECT_LT(cpu, kMaxCpu) << "of a core that the daemon spends on " << kFloods << " floods";
}

TEST_F(Loop, ClientsOnTcpDoNotBlockRootsSocket) {
  RecordProperty("item", "6");
  RecordProperty("attack", "clients of the TCP port occupy all event streams, then all client slots");
  E2E_TRY(shop_, Shop::open());
  for (int i = 0; i < 16; ++i) {
    clients_.push_back(connectTcp("127.0.0.2"));
    send(clients_.back(), "GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    ASSERT_THAT(receive(clients_.back()), HasSubstr("200 OK")) << i;
  }
  {
    E2E_TRY(const auto watching, ChildProcess::start({.argv = {binary("fallbackctl"), "watch", "--socket",
                                                               shop_->daemon->controlSocket()},
                                                      .env = {},
                                                      .output = logFile("watch")}));
    E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod("web-0")));
    ASSERT_TRUE(ready("web-0"));
    const bool received =
        waitUntil(10s, [] { return textOf(logFile("watch")).find("web-0") != std::string::npos; });
    EXPECT_TRUE(received) << "fallbackctl watch: TCP holds all event streams; its output: "
                          << textOf(logFile("watch"));
  }
  clients_.clear();
  // Many answers that no client reads: each is "being answered" for as long as the server waits.
  std::string requests;
  for (int i = 0; i < 100; ++i) requests += "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
  for (int i = 0; i < 160; ++i) {
    clients_.push_back(connectTcp("127.0.0." + std::to_string(10 + i / 20)));
    if (clients_.back()) send(clients_.back(), requests);
  }
  for (int tries = 0; tries < 20; ++tries) {
    const auto text = status();
    ASSERT_TRUE(text) << "fallbackctl status over root's socket: " << text.error().message();
    EXPECT_THAT(*text, HasSubstr("web-0"));
    std::this_thread::sleep_for(50ms);
  }
}

}  // namespace
}  // namespace fallbackd::e2e
