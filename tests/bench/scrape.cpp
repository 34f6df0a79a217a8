// SPDX-License-Identifier: Apache-2.0
// Whether clients of the endpoints can slow down a recovery. Interleaves rounds with no clients, with a
// thousand slow-loris clients and with ten thousand connections. Measures from the known failure to the ready
// fallback, by fallbackd's own stamps. The attackers run at the lowest priority: real ones would not use this
// node's CPU.
#include "figures.hpp"
#include "isolate.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <atomic>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

#include <boost/json.hpp>

namespace fallbackd::bench {
namespace {

using namespace std::chrono_literals;
using namespace fallbackd::e2e;

constexpr int kRounds = 5;
constexpr int kPodsOfARound = 12;
constexpr std::size_t kLorises = 1000;
constexpr std::size_t kFlood = 10000;
constexpr auto kCeiling = 60s;
constexpr double kNoise =
    1.5;  // times the quiet P99: noise alone reaches that on a busy machine with two cores

/// Connections that request nothing, or very slowly. When the server closes one, it is opened again.
class Attack {
 public:
  Attack(std::uint16_t port, std::size_t connections, bool slowly)
      : port_(port), sockets_(connections), slowly_(slowly), thread_([this] { run(); }) {}
  Attack(const Attack&) = delete;
  Attack& operator=(const Attack&) = delete;
  ~Attack() {
    over_ = true;
    thread_.join();
  }
  [[nodiscard]] std::size_t made() const { return made_; }

 private:
  void run() {
    static_cast<void>(::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 19));
    std::size_t next = 0;
    constexpr std::size_t kAtOnce = 10;  // every 2 ms: five thousand a second
    while (!over_) {
      for (std::size_t i = 0; i < kAtOnce; ++i) renew(sockets_[next++ % sockets_.size()]);
      std::this_thread::sleep_for(2ms);  // the pace of the attack, not a wait for an event
    }
  }
  void renew(sys::UniqueFd& socket) {
    if (socket) {
      char byte = 0;
      const auto got = ::recv(socket.get(), &byte, 1, MSG_DONTWAIT);
      const bool open = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
      if (open) {
        if (slowly_) static_cast<void>(::send(socket.get(), "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT));
        return;
      }
    }
    socket = sys::UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr generic{};
    static_assert(sizeof generic == sizeof address);
    std::copy_n(reinterpret_cast<const char*>(&address), sizeof address, reinterpret_cast<char*>(&generic));
    if (::connect(socket.get(), &generic, sizeof generic) != 0) return;
    ++made_;
    constexpr std::string_view kBegin = "GET /metrics HTTP/1.1\r\nX-Slow: ";
    if (slowly_) static_cast<void>(::send(socket.get(), kBegin.data(), kBegin.size(), MSG_NOSIGNAL));
  }

  std::uint16_t port_;
  std::vector<sys::UniqueFd> sockets_;
  bool slowly_;
  std::atomic<bool> over_{false};
  std::atomic<std::size_t> made_{0};
  std::thread thread_;
};

struct Mode {
  std::string name;
  std::size_t connections;
  bool slowly;
  std::vector<std::string> pods;
  std::size_t made = 0;
  std::size_t asked = 0;
  std::size_t answered = 0;
  Series recovery;
  Series scrape;
};

Result<> round(Shop& shop, Mode& mode, int number) {
  std::optional<Attack> attack;
  if (mode.connections > 0) {
    attack.emplace(shop.daemon->telemetryPort(), mode.connections, mode.slowly);
    if (!waitUntil(kCeiling, [&] { return attack->made() >= mode.connections; })) {
      return fail(Stage::cli, Reason::timeout, mode.name + ": the connections were not established");
    }
  }
  std::vector<Pod> pods;
  for (int i = 0; i < kPodsOfARound; ++i) {
    const auto name = "p-" + std::to_string(number) + "-" + std::to_string(i);
    FB_TRY(auto pod, shop.kubelet->startPod(checkoutPod(name)));
    if (!waitUntil(kCeiling, [&] { return accepts(pod.ip, Shop::kPort); })) {
      return fail(Stage::readiness, Reason::timeout, "pod " + name + " was not recovered");
    }
    mode.pods.push_back(name);
    const Stopwatch watch;
    ++mode.asked;
    const auto answer = httpGet("127.0.0.1", shop.daemon->telemetryPort(), "/metrics");
    if (answer && answer->status == 200) {
      ++mode.answered;
      mode.scrape.millis.push_back(watch.millis());
    }
    FB_CHECK(shop.kubelet->removePod(pod));
  }
  if (attack) mode.made += attack->made();
  return {};
}

/// The times from the known failure to the ready fallback, by pod, from the daemon's stamps.
Result<> readStamps(const Shop& shop, Mode& mode, std::size_t from) {
  FB_TRY(const auto answer, httpGet("127.0.0.1", shop.daemon->telemetryPort(), "/status"));
  std::map<std::string, double> took;
  const auto root = boost::json::parse(answer.body);
  for (const auto& one : root.at("recoveries").as_array()) {
    const auto& millis = one.at("sinceWaitingMs").as_object();
    if (!millis.contains("ready")) continue;
    took[std::string(one.at("pod").as_string())] =
        millis.at("ready").to_number<double>() - millis.at("detected").to_number<double>();
  }
  for (std::size_t i = from; i < mode.pods.size(); ++i) {
    const auto found = took.find(mode.pods[i]);
    if (found == took.end()) return fail(Stage::cli, Reason::not_found, "no stamps of " + mode.pods[i]);
    mode.recovery.millis.push_back(found->second);
  }
  return {};
}

Result<int> measure() {
  struct rlimit descriptors {};
  if (::getrlimit(RLIMIT_NOFILE, &descriptors) != 0)
    return failErrno(Stage::cli, "read the limit of descriptors");
  descriptors.rlim_cur = descriptors.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &descriptors) != 0) {
    return failErrno(Stage::cli, "raise the limit of descriptors");
  }
  FB_TRY(const auto shop, Shop::open({.reprobeInterval = "60s", .installBinary = true, .workloadExtra = {}}));
  std::array<Mode, 3> modes{Mode{"no clients", 0, false, {}, 0, 0, 0, {}, {}},
                            Mode{"1,000 slow lorises", kLorises, true, {}, 0, 0, 0, {}, {}},
                            Mode{"10,000 connections", kFlood, false, {}, 0, 0, 0, {}, {}}};
  for (int i = 0; i < kRounds; ++i) {
    for (std::size_t m = 0; m < modes.size(); ++m) {
      auto& mode = modes.at((m + static_cast<std::size_t>(i)) % modes.size());
      const auto before = mode.pods.size();
      FB_CHECK(round(*shop, mode, i * 3 + static_cast<int>(m)));
      FB_CHECK(readStamps(*shop, mode, before));
    }
  }
  printHead(std::to_string(kRounds) + " interleaved rounds of " + std::to_string(kPodsOfARound) +
            " recoveries, known failure to ready, ms");
  boost::json::array rows;
  for (auto& mode : modes) {
    mode.recovery.name = mode.name;
    rows.push_back(report(mode.recovery));
  }
  printHead("/metrics during the recoveries, ms");
  std::string why;
  const double quiet = percentile(modes[0].recovery.millis, 99);
  for (auto& mode : modes) {
    mode.scrape.name = mode.name + ": " + std::to_string(mode.answered) + " of " +
                       std::to_string(mode.asked) + " answered, " + std::to_string(mode.made) +
                       " connections established";
    if (!mode.scrape.millis.empty()) rows.push_back(report(mode.scrape));
    const double p99 = percentile(mode.recovery.millis, 99);
    if (p99 > quiet * kNoise)
      why += mode.name + ": P99 " + std::to_string(p99) + " ms against " + std::to_string(quiet) + "; ";
    if (mode.answered != mode.asked) why += mode.name + ": scrapes unanswered; ";
  }
  return conclude("scrape", why, {{"series", std::move(rows)}});
}

int bench() {
  const auto code = measure();
  if (code) return *code;
  return conclude("scrape", code.error().message(), {});
}

}  // namespace
}  // namespace fallbackd::bench

int main(int argc, char** argv) {
  return fallbackd::e2e::runIsolated(argc, argv, fallbackd::bench::bench);
}
