// SPDX-License-Identifier: Apache-2.0
// What the mirror adds to healthy pulls, and how long a pull takes that it answers. Pulls of one image from
// two registries side by side, one of them through the mirror; single answers with containerd's requests,
// each on a new connection; pulls from a refusing and from a silent registry.
#include "figures.hpp"
#include "isolate.hpp"
#include "mirror_node.hpp"
#include "wait.hpp"

#include <algorithm>
#include <cstdio>
#include <future>
#include <string>
#include <vector>

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>

namespace fallbackd::bench {
namespace {

using namespace std::chrono_literals;
using namespace fallbackd::e2e;
namespace asio = boost::asio;
namespace json = boost::json;

constexpr int kPairs = 150;
constexpr int kRounds = 5;      // the middle one counts: a busy machine disturbs some rounds
constexpr int kAnswers = 1000;  // in a round
constexpr int kOutagePulls = 20;
constexpr int kPodsAtOnce = 110;
constexpr double kMaxAddedMs = 2;  // for one answer, at P99
constexpr double kNoise = 1.5;  // times a bare server's P99 in the same rounds: up to that it is the machine
constexpr double kMaxAddedToPullMs = 5;
constexpr double kMaxServedMs = 4000 + 2000;  // the limits of a check, and the pull itself on a busy machine

/// Sends one request; returns its status, and how long it took including the connection.
Result<unsigned> ask(const std::string& address, const std::string& token, const std::string& target,
                     double& ms) {
  const Stopwatch watch;
  asio::io_context loop;
  asio::ip::tcp::socket socket(loop);
  boost::system::error_code error;
  const auto port = static_cast<std::uint16_t>(std::stoul(address.substr(address.rfind(':') + 1)));
  socket.connect({asio::ip::address_v4::loopback(), port}, error);
  const std::string request = "HEAD " + target + " HTTP/1.1\r\nHost: " + address +
                              "\r\nAuthorization: Bearer " + token + "\r\nConnection: close\r\n\r\n";
  if (!error) asio::write(socket, asio::buffer(request), error);
  std::string answer;
  if (!error) asio::read_until(socket, asio::dynamic_buffer(answer), "\r\n\r\n", error);
  ms = watch.millis();
  if (error) {
    return fail(Stage::cli, Reason::unavailable, target + ": " + error.message());
  }
  return static_cast<unsigned>(std::stoul(answer.substr(9, 3)));
}

struct MirrorStage {
  std::unique_ptr<MirrorNode> node;
  std::unique_ptr<FaultRegistry> with;  // containerd asks the mirror first
  std::unique_ptr<FaultRegistry> without;
};

Result<MirrorStage> prepare() {
  MirrorStage stage;
  FB_TRY(stage.node, MirrorNode::open({}));
  FB_TRY(stage.with, FaultRegistry::start(cartImage(), {}));
  FB_TRY(stage.without, FaultRegistry::start(cartImage(), {}));
  FB_CHECK(stage.node->enable(stage.with->address()));
  FB_CHECK(stage.node->shop().node->speak("http", stage.without->address()));
  return stage;
}

Result<double> pullOf(const MirrorStage& stage, const std::string& host) {
  const auto outcome = stage.node->shop().kubelet->pullImage(host + "/shop/cart:1");
  if (!outcome.ok()) return fail(Stage::containerd, Reason::unavailable, host + ": " + outcome.text);
  return toMillis(outcome.took);
}

Result<json::object> healthy(std::string& why) {
  FB_TRY(const auto stage, prepare());
  Series with{"pull with the mirror, image on the node", {}};
  Series without{"pull without it", {}};
  for (int i = 0; i < kPairs + 5; ++i) {
    // Each of them is first equally often.
    for (int turn = 0; turn < 2; ++turn) {
      const bool mirrored = (i + turn) % 2 == 0;
      FB_TRY(const auto ms, pullOf(stage, (mirrored ? stage.with : stage.without)->address()));
      if (i >= 5) (mirrored ? with : without).millis.push_back(ms);
    }
  }
  printHead(std::to_string(kPairs) + " pairs of healthy pulls, interleaved, ms");
  json::array rows{report(with), report(without)};
  std::vector<double> differences;
  for (std::size_t i = 0; i < with.millis.size(); ++i) {
    differences.push_back(with.millis[i] - without.millis[i]);
  }
  const double added = percentile(differences, 50);
  printFigure("added to a healthy pull, median of the pairs", added, "ms");

  const auto ns = "?ns=" + stage.with->address();
  FB_TRY(const auto bare, StatusServer::start(404));
  struct Target {
    const char* name;
    std::string address;
    std::string path;
    Series all = {};
    std::vector<double> tails = {};
  };
  const auto mirror = stage.node->address();
  std::vector<Target> targets{
      {"a bare server, to compare", bare->address(), "/"},
      {"404: not on the node", mirror, "/v2/shop/none/manifests/1" + ns},
      {"404: on the node, the registry is healthy", mirror, "/v2/shop/cart/manifests/1" + ns},
      {"404: a layer", mirror, "/v2/shop/cart/blobs/sha256:" + std::string(64, '0') + ns}};
  for (int round = 0; round < kRounds; ++round) {
    for (auto& target : targets) {
      std::vector<double> millis;
      for (int i = 0; i < kAnswers; ++i) {
        double ms = 0;
        FB_TRY(const auto status, ask(target.address, stage.node->token(), target.path, ms));
        if (status != 404) {
          return fail(Stage::cli, Reason::protocol, target.path + ": " + std::to_string(status));
        }
        millis.push_back(ms);
      }
      target.tails.push_back(percentile(millis, 99));
      target.all.millis.insert(target.all.millis.end(), millis.begin(), millis.end());
    }
  }
  printHead("answers while the registry is healthy, connection included, ms");
  const double noise = kNoise * percentile(targets[0].tails, 50);
  for (auto& target : targets) {
    target.all.name = target.name;
    auto row = report(target.all);
    const double p99 = percentile(target.tails, 50);
    row["p99OfTheMiddleRoundMs"] = p99;
    rows.push_back(std::move(row));
    if (p99 > std::max(kMaxAddedMs, noise) && why.empty()) {
      why = std::string(target.name) + ": P99 " + std::to_string(p99) + " ms";
    }
  }
  if (added > kMaxAddedToPullMs && why.empty())
    why = "a healthy pull takes " + std::to_string(added) + " ms longer";
  return json::object{{"series", std::move(rows)}, {"addedMedianMs", added}};
}

Result<json::object> outage(std::string& why) {
  FB_TRY(const auto stage, prepare());
  FB_TRY(const auto first, pullOf(stage, stage.with->address()));
  static_cast<void>(first);
  FB_TRY(const auto dead, DeadPort::make());
  FB_TRY(const auto silent, FaultRegistry::start(cartImage(), {.silent = true}));
  json::array rows;
  printHead("pulls that the mirror answers, ms");
  for (const auto& [name, host] :
       {std::pair<std::string, std::string>{"refused", dead.address()}, {"silent", silent->address()}}) {
    FB_CHECK(stage.node->enable(host));
    FB_CHECK(stage.node->name(stage.with->address() + "/shop/cart:1", host + "/shop/cart:1"));
    Series series{name, {}};
    for (int i = 0; i < kOutagePulls; ++i) {
      FB_TRY(const auto ms, pullOf(stage, host));
      series.millis.push_back(ms);
    }
    rows.push_back(report(series));
    const double most = percentile(series.millis, 100);
    if (most > kMaxServedMs && why.empty()) why = name + ": " + std::to_string(most) + " ms";
  }
  Series atOnce{std::to_string(kPodsAtOnce) + " at once, silent", {}};
  std::vector<std::future<Result<double>>> pulls;
  for (int i = 0; i < kPodsAtOnce; ++i) {
    pulls.push_back(std::async(std::launch::async, [&] { return pullOf(stage, silent->address()); }));
  }
  std::vector<Result<double>> ended;
  for (auto& one : pulls) ended.push_back(one.get());
  for (const auto& one : ended) {
    if (!one) return tl::unexpected<Error>(one.error());
    atOnce.millis.push_back(*one);
  }
  rows.push_back(report(atOnce));
  return json::object{{"series", std::move(rows)}};
}

int bench() {
  return concludeParts("mirror", {{"healthy", healthy}, {"outage", outage}});
}

}  // namespace
}  // namespace fallbackd::bench

int main(int argc, char** argv) {
  return fallbackd::e2e::runIsolated(argc, argv, fallbackd::bench::bench);
}
