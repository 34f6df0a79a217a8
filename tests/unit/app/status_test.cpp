// SPDX-License-Identifier: Apache-2.0
// The views of a snapshot, and when snapshots are taken.
#include "app/status.hpp"

#include "app/snapshot_source.hpp"
#include "base/strings.hpp"
#include "fake_clock.hpp"
#include "output_schema.hpp"
#include "shell.hpp"
#include "snapshots.hpp"
#include "temp_folder.hpp"

#include <atomic>
#include <future>
#include <map>
#include <optional>
#include <thread>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <gmock/gmock.h>

namespace fallbackd::app {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using testing::HasSubstr;

TEST(Status, ShowsWhereAFallbackServes) {
  Snapshot snapshot = quietNode();
  snapshot.incidents = {incidentOf("web-0", recovery::State::ready)};
  const auto root = boost::json::parse(statusJson(snapshot));
  EXPECT_EQ(root.at("recoveries").at(0).at("address").as_string(), "10.1.2.3:8080");
}

/// Texts from the runtime need not be UTF-8.
TEST(Status, IsJsonForEveryErrorText) {
  auto snapshot = quietNode();
  auto incident = incidentOf("web-0", recovery::State::failed);
  incident.error = Error{Stage::run, Reason::system, 0, "cut: \xe2\x82"};
  snapshot.incidents.push_back(incident);
  const auto root = boost::json::parse(statusJson(snapshot));
  EXPECT_EQ(root.at("recoveries").at(0).at("error").at("message").as_string(),
            "run: system: cut: \ufffd\ufffd");
}

TEST(Status, ShowsWhoDescribesThePods) {
  auto snapshot = quietNode();
  EXPECT_EQ(boost::json::serialize(boost::json::parse(statusJson(snapshot)).at("kubernetes")),
            R"({"sources":[],"pods":0,"leftOut":0})");
  kube::SourceState kubelet;
  kubelet.kind = kube::SourceKind::kubelet;
  kubelet.since = parseRfc3339("2026-03-01T12:00:00Z").value();
  kube::SourceState api;
  api.health = kube::Health::failing;
  api.since = kubelet.since + 1h;
  api.lastSuccess = kubelet.since;
  api.error = "list pods: the API server answered 403";
  api.requests.at(static_cast<std::size_t>(kube::Outcome::forbidden)) = 2;
  snapshot.knownPods = {{kubelet, api}, 7, 1, kubelet.since, {}};
  const auto shown = boost::json::parse(statusJson(snapshot)).at("kubernetes").as_object();
  EXPECT_EQ(boost::json::serialize(shown.at("sources").at(0)),
            R"({"name":"kubelet","state":"waiting","since":"2026-03-01T12:00:00Z"})");
  EXPECT_EQ(boost::json::serialize(shown.at("sources").at(1)),
            R"({"name":"apiserver","state":"failing","since":"2026-03-01T13:00:00Z",)"
            R"("lastSuccess":"2026-03-01T12:00:00Z","error":"list pods: the API server answered 403"})");
  EXPECT_EQ(shown.at("rememberedSince").as_string(), "2026-03-01T12:00:00Z");
  EXPECT_EQ(readiness(snapshot).text, readiness(quietNode()).text) << "they do not affect readiness";
  EXPECT_FALSE(shown.contains("events"));
  const auto usage = usageOf(snapshot.knownPods);
  EXPECT_FALSE(usage.sources.at("apiserver").up);
  EXPECT_EQ(usage.sources.at("apiserver").requests.at("forbidden"), 2U);
}

TEST(Status, ShowsWhetherEventsAreWritten) {
  auto snapshot = quietNode();
  kube::EventState events;
  events.health = kube::Health::failing;
  events.since = parseRfc3339("2026-03-01T12:00:00Z").value();
  events.error = "create events in namespace bank: the API server answered 403";
  events.forbiddenIn = {"bank"};
  events.waiting = 2;
  events.results.at(static_cast<std::size_t>(kube::EventResult::created)) = 5;
  snapshot.knownPods.events = events;
  EXPECT_EQ(boost::json::serialize(boost::json::parse(statusJson(snapshot)).at("kubernetes").at("events")),
            R"({"state":"failing","since":"2026-03-01T12:00:00Z","waiting":2,)"
            R"("error":"create events in namespace bank: the API server answered 403",)"
            R"("forbiddenIn":["bank"],"created":5})");
  EXPECT_EQ(readiness(snapshot).text, readiness(quietNode()).text) << "they do not affect readiness";
  EXPECT_FALSE(usageOf(events).up);
  EXPECT_EQ(usageOf(events).results.at("created"), 5U);
  EXPECT_EQ(usageOf(events).results.at("dropped_full"), 0U);
}

TEST(Readiness, NamesWhatIsMissing) {
  auto snapshot = quietNode();
  EXPECT_TRUE(readiness(snapshot).ready);
  EXPECT_EQ(readiness(snapshot).text,
            "ok containerd\nok spawner\nok cache\nok coverage\nok pause\nok drill\nok config\n");
  snapshot.binaries->front().serves = false;
  snapshot.configProblems = {"fallbackd.yaml:3:1: unknown key"};
  EXPECT_TRUE(readiness(snapshot).ready) << "a new daemon would have the same problem";
  EXPECT_THAT(readiness(snapshot).text,
              HasSubstr("warning coverage: 1 of 1 workloads have no admitted binary"));
  EXPECT_THAT(readiness(snapshot).text, HasSubstr("warning config: the file on disk is invalid"));
  snapshot.spawnerRuns = false;
  EXPECT_FALSE(readiness(snapshot).ready);
  EXPECT_THAT(readiness(snapshot).text, HasSubstr("not ready spawner: is not running"));
  snapshot = quietNode();
  snapshot.containerdConnected = false;
  EXPECT_THAT(readiness(snapshot).text,
              HasSubstr("not ready containerd: does not answer at /run/containerd/containerd.sock\n"));
  snapshot.containerdProblem = "No such file or directory";
  EXPECT_THAT(
      readiness(snapshot).text,
      HasSubstr(
          "containerd: does not answer at /run/containerd/containerd.sock: No such file or directory\n"));
  EXPECT_EQ(test::schemaProblems("status", statusJson(snapshot)), "");
  snapshot = quietNode();
  snapshot.binaries.reset();
  EXPECT_FALSE(readiness(snapshot).ready);
  EXPECT_THAT(readiness(snapshot).text, HasSubstr("not ready cache: has not been read yet"));
}

/// A node with every part of the status filled in.
Snapshot fullNode() {
  auto snapshot = quietNode();
  snapshot.incidents = {incidentOf("web-0", recovery::State::ready),
                        incidentOf("web-1", recovery::State::failed)};
  snapshot.incidents[0].settlement =
      recovery::Settlement{recovery::Settlement::State::settled, "a stand-in runs", "id"};
  snapshot.incidents[1].error = Error{Stage::admission, Reason::expired, 0, "expired"};
  auto waiting = waitingOf(snapshot, "web-1", watcher::Waiting::State::not_started);
  waiting.trouble = "t";
  waiting.verdictTook = 3ms;
  waiting.heldUp = watcher::StalledPull{};
  snapshot.waiting = {waiting, waitingOf(snapshot, "web-2", watcher::Waiting::State::failed)};
  snapshot.waiting[1].heldUp = watcher::BackOff{};
  snapshot.pause.node = config::Pause::Order{*parseRfc3339("2027-01-31T08:30:00Z"), "a bad day"};
  snapshot.pause.namespaces["shop"] = {{}, ""};
  snapshot.withheld = {withheldOf("web-0", recovery::Withheld::By::observe)};
  snapshot.withheld[0].wouldStartAfter = 11ms;
  snapshot.registries.push_back(
      {"r.example.com", watcher::Circuits::State::open, {Cause::dns, "no such host"}, snapshot.takenAt});
  snapshot.binaries->front().refused = Error{Stage::admission, Reason::revoked, 0, "revoked"};
  kube::SourceState kubelet;
  kubelet.kind = kube::SourceKind::kubelet;
  kubelet.error = "refused";
  snapshot.knownPods = {{kubelet}, 7, 1, kubelet.since, kubelet, kube::EventState()};
  snapshot.knownPods.events->results.fill(3);
  snapshot.knownPods.events->forbiddenIn = {"shop"};
  snapshot.pause.annotated["bank"] = {{}, "by its team"};
  mirror::ServedImage image{"registry.example.com/shop/cart:1", "sha256:1", Cause::dns, "no such host", {}};
  image.lastSeen = snapshot.taken;
  snapshot.mirror.emplace().served = {image, image};
  snapshot.mirror->served[1].byDigest = true;
  snapshot.mirror->served[1].lastSeen.reset();
  return snapshot;
}

/// Programs rely on the schema.
TEST(Status, MatchesItsSchema) {
  EXPECT_EQ(test::schemaProblems("status", statusJson(quietNode())), "");
  coverage::Counts counts{};
  const auto status = statusJson(fullNode(), counts);
  EXPECT_EQ(test::schemaProblems("status", status), "");
  EXPECT_EQ(
      test::schemaProblems("recoveries", boost::json::serialize(boost::json::parse(status).at("recoveries"))),
      "");
  // The schema rejects an undescribed key.
  auto more = boost::json::parse(status);
  more.as_object()["new"] = 1;
  EXPECT_THAT(test::schemaProblems("status", boost::json::serialize(more)),
              HasSubstr("'new' was unexpected"));
}

TEST(Watch, MatchesItsSchema) {
  test::TempFolder folder;
  const auto socket = folder.path() + "/sock";
  const auto output = test::shell("/usr/bin/python3 " FIXTURES "/fake_daemon.py " + socket + " " +
                                  folder.write("status.json", statusJson(fullNode())) +
                                  " " FALLBACKCTL " watch -o json --socket " + socket + " 2>/dev/null");
  std::map<std::string, std::string> documents;
  for (const auto line : split(trim(output.text), '\n')) {
    const auto kind = std::string(boost::json::parse(std::string(line)).at("kind").as_string());
    documents[kind] = line;
  }
  for (const char* kind : {"registry", "waiting", "recovery"}) {
    EXPECT_EQ(test::schemaProblems("watch", documents[kind]), "") << output.text;
  }
}

TEST(Status, ShowsADrill) {
  auto snapshot = quietNode();
  EXPECT_EQ(boost::json::serialize(boost::json::parse(statusJson(snapshot)).at("drill")),
            R"({"problem":""})");
  const auto since = *parseRfc3339("2027-01-31T08:30:00Z");
  snapshot.drill = config::Drill{"checkout", "shop", "checkout-drill", since, since + 10min, "first day"};
  const auto status = statusJson(snapshot);
  const auto root = boost::json::parse(status);
  EXPECT_EQ(root.at("drill").at("pod").as_string(), "checkout-drill");
  EXPECT_EQ(root.at("drill").at("until").as_string(), rfc3339(since + 10min));
  EXPECT_EQ(root.at("drill").at("reason").as_string(), "first day");
  EXPECT_EQ(test::schemaProblems("status", status), "");
  EXPECT_TRUE(readiness(snapshot).ready);
  EXPECT_THAT(readiness(snapshot).text, HasSubstr("warning drill: "));
}

TEST(Status, ShowsWhatIsPausedAndWhatIsWithheld) {
  auto snapshot = quietNode();
  EXPECT_FALSE(boost::json::parse(statusJson(snapshot)).at("pause").as_object().contains("node"));
  snapshot.pause.node = config::Pause::Order{*parseRfc3339("2027-01-31T08:30:00Z"), "a bad day"};
  snapshot.pause.namespaces["shop"] = {{}, ""};
  snapshot.pause.annotated["bank"] = {{}, "incident 4711"};
  snapshot.withheld = {withheldOf("web-0", recovery::Withheld::By::observe)};
  snapshot.withheld[0].wouldStartAfter = 11ms;
  const auto root = boost::json::parse(statusJson(snapshot));
  EXPECT_EQ(root.at("mode").as_string(), "recover");
  EXPECT_EQ(root.at("pause").at("node").at("reason").as_string(), "a bad day");
  EXPECT_EQ(root.at("pause").at("namespaces").at(0).at("name").as_string(), "shop");
  EXPECT_EQ(root.at("pause").at("namespaces").at(0).at("by").as_string(), "fallbackctl");
  EXPECT_EQ(root.at("pause").at("namespaces").at(1).at("name").as_string(), "bank");
  EXPECT_EQ(root.at("pause").at("namespaces").at(1).at("by").as_string(), "annotation");
  EXPECT_EQ(root.at("withheld").at(0).at("by").as_string(), "observe");
  EXPECT_EQ(root.at("withheld").at(0).at("wouldStartAfterMs").as_double(), 11);
  EXPECT_TRUE(readiness(snapshot).ready) << "a pause is an order, not a fault";
  EXPECT_THAT(readiness(snapshot).text, HasSubstr("warning pause: "));
}

TEST(Status, CountsIgnoredAnnotationsAndShowsForWhomACircuitIsOpen) {
  auto snapshot = quietNode();
  snapshot.ignoredAnnotations = {3, 1484};
  snapshot.unstick = watcher::Unsticker::State::not_permitted;
  snapshot.unsticks[static_cast<std::size_t>(watcher::UnstickResult::proxy)] = 2;
  watcher::Circuits::Host host{"r.x", watcher::Circuits::State::closed, {}, snapshot.takenAt};
  host.namespaces = {"evil"};
  snapshot.registries.push_back(host);
  const auto root = boost::json::parse(statusJson(snapshot));
  EXPECT_EQ(root.at("annotations").at("refused").to_number<int>(), 3);
  EXPECT_EQ(root.at("annotations").at("cutOff").to_number<int>(), 1484);
  EXPECT_EQ(root.at("unstick").at("state").as_string(), "not permitted");
  EXPECT_EQ(root.at("unstick").at("proxy").to_number<int>(), 2);
  EXPECT_EQ(root.at("registries").at(0).at("state").as_string(), "closed");
  EXPECT_EQ(root.at("registries").at(0).at("openFor").at(0).as_string(), "evil");
}

TEST(Readiness, SaysWhyNothingNewIsAdmitted) {
  auto snapshot = quietNode();
  const std::string why = "/etc/fallbackd/revoked:2: \"x\" is not one sha256 digest";
  snapshot.trust.revocations = fail(Stage::admission, Reason::invalid, why).value();
  EXPECT_FALSE(readiness(snapshot).ready) << "although all workloads are still covered";
  EXPECT_THAT(readiness(snapshot).text, HasSubstr("not ready cache: nothing new is admitted: " + why));
  EXPECT_THAT(statusJson(snapshot), HasSubstr("revoked:2"));
  snapshot = quietNode();
  snapshot.trust.keyring =
      fail(Stage::admission, Reason::keyring_invalid, "/etc/fallbackd/keys holds no public key").value();
  EXPECT_TRUE(readiness(snapshot).ready) << "a new node may have no key yet";
  EXPECT_THAT(readiness(snapshot).text,
              HasSubstr("warning cache: nothing new is admitted: /etc/fallbackd/keys holds"));
}

TEST(Status, ShowsRollbacksBesideTheFloor) {
  auto snapshot = quietNode();
  snapshot.rolledBack = {{{{"checkout", "1.9.0"}, "1.8.2"}, "1.9.0", cache::RollbackState::in_effect},
                         {{{"cart", "2.0.0"}, "1.0.0"}, {}, cache::RollbackState::not_needed}};
  const auto text = statusJson(snapshot);
  EXPECT_THAT(
      text,
      HasSubstr(R"({"name":"checkout","from":"1.9.0","to":"1.8.2","state":"in_effect","floor":"1.9.0"})"));
  EXPECT_THAT(text, HasSubstr(R"({"name":"cart","from":"2.0.0","to":"1.0.0","state":"not_needed"})"));
}

TEST(Status, IsTheSameTextIfNothingHappened) {
  auto snapshot = quietNode();
  snapshot.taken = *parseRfc3339("2026-11-25T03:00:02Z");
  snapshot.registries.push_back({"registry.example.com",
                                 watcher::Circuits::State::open,
                                 {Cause::dns, "no such host"},
                                 snapshot.takenAt - 5s});
  const auto first = statusJson(snapshot);
  snapshot.taken += 6900ms;
  snapshot.takenAt += 6900ms;
  EXPECT_EQ(statusJson(snapshot), first);
  const auto root = boost::json::parse(first);
  EXPECT_EQ(root.at("now").as_string(), "2026-11-25T03:00:00.000000000Z");
  EXPECT_EQ(root.at("registries").at(0).at("since").as_string(), "2026-11-25T02:59:57.000000000Z");
  EXPECT_EQ(root.at("coverage").at("covered").as_int64(), 1);
}

TEST(Vars, AreNumbers) {
  auto snapshot = quietNode();
  snapshot.incidents = {incidentOf("a", recovery::State::ready), incidentOf("b", recovery::State::ready)};
  snapshot.containerdCalls = {{"PullImage", 3}};
  const auto root = boost::json::parse(varsJson(snapshot));
  EXPECT_EQ(root.at("recoveries").at("ready").as_int64(), 2);
  EXPECT_EQ(root.at("containerdCalls").at("PullImage").to_number<int>(), 3);
  EXPECT_GT(root.at("process").at("peakResidentBytes").as_int64(), 0);
}

/// The loops of a daemon and of a server, each on its own thread.
class SourceTest : public testing::Test {
 protected:
  void start(std::function<Snapshot()> collect) {
    source_.emplace(server_.get_executor(), daemon_.get_executor(), std::move(collect));
    asio::co_spawn(server_, source_->run(), [](std::exception_ptr) {});
    threads_.emplace_back([this] { daemon_.run(); });
  }
  void TearDown() override {
    daemon_.stop();
    for (auto& thread : threads_) thread.join();
  }
  // The server's loop must outlive the daemon's.
  asio::io_context server_{1};
  test::FakeClock& clock_ = test::FakeClock::install(server_);
  asio::io_context daemon_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{daemon_.get_executor()};
  std::optional<SnapshotSource> source_;
  std::vector<std::thread> threads_;
};

TEST_F(SourceTest, ConcurrentRequestsShareOneSnapshot) {
  std::atomic<int> visits{0};
  start([&] {
    ++visits;
    return quietNode();
  });
  int answers = 0;
  for (int i = 0; i < 200; ++i) {
    asio::co_spawn(
        server_,
        [](SnapshotSource& source) -> asio::awaitable<SnapshotPtr> {
          co_return co_await source.take();
        }(*source_),
        [&](std::exception_ptr, SnapshotPtr snapshot) {
          EXPECT_NE(snapshot, nullptr);
          if (++answers == 200) server_.stop();
        });
  }
  server_.run();
  EXPECT_LE(visits, 2);
}

TEST_F(SourceTest, AnUnresponsiveLoopIsReported) {
  start([] { return quietNode(); });
  std::promise<void> free;
  asio::post(daemon_, [wait = free.get_future().share()] { wait.wait(); });
  bool silent = false;
  asio::co_spawn(
      server_,
      [](SnapshotSource& source) -> asio::awaitable<SnapshotPtr> {
        co_return co_await source.take();
      }(*source_),
      [&](std::exception_ptr, SnapshotPtr snapshot) { silent = snapshot == nullptr; });
  clock_.advance(server_, SnapshotSource::kPatience - 1ms);
  EXPECT_FALSE(silent) << "it may still respond";
  clock_.advance(server_, 1ms);
  free.set_value();
  EXPECT_TRUE(silent);
}

}  // namespace
}  // namespace fallbackd::app
