// SPDX-License-Identifier: Apache-2.0
// Each way in which a source of pods can fail, for the built daemon: what degrades, where that is visible,
// that recoveries continue, and that it heals by itself. KNOWS_JSON names a folder for the table of
// scripts/report knows.
#include "kube_node.hpp"
#include "pod_json.hpp"

#include <cstdlib>
#include <fstream>
#include <functional>

#include <gmock/gmock.h>

namespace fallbackd::e2e {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using kube_test::Authority;
using kube_test::FakeApiServer;
using kube_test::Fault;
using kube_test::podJson;
using kube_test::Trouble;
using testing::HasSubstr;

/// What goes wrong, and the word for it in status and log.
struct Failure {
  const char* name;
  Trouble trouble;
  const char* says;
};

const Failure kFailures[] = {
    {"forbidden (403)", {Fault::status, 403, "", "forbidden"}, "403"},
    {"too many requests (429)", {Fault::status, 429, "1"}, "429"},
    {"server error (500)", {Fault::status, 500}, "500"},
    {"conflict (409)", {Fault::status, 409}, "409"},
    {"half-open: accepts and stays silent", {Fault::silent_accept}, ""},
    {"half-open: reads and stays silent", {Fault::silent_answer}, ""},
    {"slow: half of an answer", {Fault::silent_body}, ""},
    {"cut before the answer", {Fault::cut_before_answer}, ""},
    {"cut within the answer", {Fault::cut_body}, ""},
    {"garbage instead of HTTP", {Fault::not_http}, ""},
    {"garbage instead of JSON", {Fault::not_json}, ""},
    {"an endless answer", {Fault::endless_body}, ""},
    {"a redirect", {Fault::redirect}, "302"},
};

class SourceFailures : public KubeNodeTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(KubeNodeTest::SetUp());
    api_.put(podJson("known-1", "uid-1", nodeName()));
  }

  [[nodiscard]] json::object stateOf(const std::string& source) const {
    const auto object = known();
    if (object.empty()) return {};
    for (const auto& one : object.at("sources").as_array()) {
      if (one.at("name").as_string() == source) return one.as_object();
    }
    return {};
  }
  [[nodiscard]] bool becomes(const std::string& source, const std::string& state) const {
    return waitUntil(kCeiling, [&] { return textOf(stateOf(source), "state") == state; });
  }
  [[nodiscard]] double isUp(const std::string& source) const {
    const auto metrics = shop_->daemon->metrics();
    return metrics ? metrics->at("fallbackd_pod_source_up{source=\"" + source + "\"}") : -1;
  }
  /// A pod with a workload in the configuration: it needs no source, and makes the daemon query kubelet.
  void rescue() {
    const auto name = "checkout-" + std::to_string(++pods_);
    E2E_TRY(const auto pod, shop_->kubelet->startPod(checkoutPod(name)));
    const Stopwatch watch;
    ASSERT_TRUE(reaches(name, "ready")) << shop_->daemon->logText();
    rescuedMs_ = watch.millis();
    E2E_CHECK(shop_->kubelet->removePod(pod));
  }

  void checkFailing(const std::string& source, const std::string& failure, const std::string& says) {
    SCOPED_TRACE(source + ": " + failure);
    if (source == "kubelet") {
      ASSERT_NO_FATAL_FAILURE(rescue());
    }
    json::object state;
    ASSERT_TRUE(waitUntil(kCeiling,
                          [&] {
                            state = stateOf(source);
                            return textOf(state, "state") == "failing" &&
                                   textOf(state, "error").find(says) != std::string::npos;
                          }))
        << shown() << shop_->daemon->logText();
    const auto error = textOf(state, "error");
    EXPECT_FALSE(error.empty());
    EXPECT_EQ(isUp(source), 0);
    EXPECT_THAT(shop_->daemon->logText(), HasSubstr(error.substr(0, error.find('"'))));
    if (source != "kubelet") {
      ASSERT_NO_FATAL_FAILURE(rescue());
    }
    EXPECT_GE(known().at("pods").to_number<int>(), 1) << "known pods stay known";
    const auto ready = httpGet("127.0.0.1", shop_->daemon->telemetryPort(), "/readyz");
    ASSERT_TRUE(ready);
    EXPECT_EQ(ready->status, 200U);
    error_ = error;
  }
  void checkHealed(const std::string& source, const std::string& failure) {
    SCOPED_TRACE(source + ": " + failure);
    const Stopwatch watch;
    if (source == "kubelet") {
      ASSERT_NO_FATAL_FAILURE(rescue());
    }
    ASSERT_TRUE(becomes(source, "up")) << shown() << shop_->daemon->logText();
    EXPECT_EQ(isUp(source), 1);
    rows_.push_back(
        json::object{{"source", source},
                     {"failure", failure},
                     {"degrades", source == "kubelet" ? "a waiting pod is described by the API server alone"
                                                      : "changes are not seen; known pods stay"},
                     {"error", error_},
                     {"rescuedMs", rescuedMs_},
                     {"healedMs", watch.millis()}});
  }

  void TearDown() override {
    if (const char* const folder = std::getenv("KNOWS_JSON"); folder != nullptr) {
      std::ofstream(fs::path(folder) / ("failures-" + makeUid() + ".json"))
          << json::serialize(json::object{{"kind", "failures"}, {"failed", HasFailure()}, {"rows", rows_}});
    }
  }

  int pods_ = 0;
  double rescuedMs_ = 0;
  std::string error_;
  json::array rows_;
};

class ApiServerFailures : public SourceFailures {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(SourceFailures::SetUp());
    runDaemon("[apiserver]", [](DaemonOptions&) {});
    ASSERT_TRUE(becomes("apiserver", "up")) << shown();
  }
  void during(const std::string& failure, const std::string& says, const std::function<void()>& begin,
              const std::function<void()>& end) {
    // The failure would hit a watch that began later, and a watch does not show it.
    ASSERT_TRUE(waitUntil(kCeiling, [&] { return api_.watches() > 0; }));
    begin();
    // A list resets the growing pauses; a history that is gone leads to a list.
    api_.sayGoneByStatus(true);
    api_.compact();
    api_.endWatches(FakeApiServer::End::cut);
    ASSERT_NO_FATAL_FAILURE(checkFailing("apiserver", failure, says));
    end();
    // A request that began during the silence would wait for its own limit of up to a minute.
    api_.endSilence();
    ASSERT_NO_FATAL_FAILURE(checkHealed("apiserver", failure));
    api_.bookmark();
  }
};

TEST_F(ApiServerFailures, AreSeenHurtNoRecoveryAndHeal) {
  for (const auto& one : kFailures) {
    // A watch does not end by itself.
    const bool body = one.trouble.fault == Fault::silent_body || one.trouble.fault == Fault::cut_body ||
                      one.trouble.fault == Fault::endless_body || one.trouble.fault == Fault::not_json;
    if (body) continue;
    ASSERT_NO_FATAL_FAILURE(during(
        one.name, one.says, [&] { api_.trouble(one.trouble); }, [&] { api_.heal(); }));
  }
}

TEST_F(ApiServerFailures, OfListsAreSeenHurtNoRecoveryAndHeal) {
  for (const auto& one : kFailures) {
    const bool body = one.trouble.fault == Fault::silent_body || one.trouble.fault == Fault::cut_body ||
                      one.trouble.fault == Fault::endless_body || one.trouble.fault == Fault::not_json;
    if (!body) continue;
    ASSERT_NO_FATAL_FAILURE(during(
        std::string("list, ") + one.name, one.says, [&] { api_.trouble(one.trouble); },
        [&] { api_.heal(); }));
  }
}

TEST_F(ApiServerFailures, OfTrustAreSeenHurtNoRecoveryAndHeal) {
  ASSERT_NO_FATAL_FAILURE(during(
      "expired token (401)", "401", [&] { api_.acceptTokens({"secret-2"}); },
      [&] { write("token", "secret-2"); }));
  const Authority other("another cluster");
  ASSERT_NO_FATAL_FAILURE(during(
      "another CA", "certificate", [&] { api_.certify(other.server("IP:127.0.0.1")); },
      [&] { write("ca.crt", other.certificate()); }));
  ASSERT_NO_FATAL_FAILURE(during(
      "no token file", "token", [&] { fs::remove(folder_ / "token"); }, [&] { write("token", "secret-2"); }));
}

TEST_F(ApiServerFailures, AServerThatIsAwayIsSeenHurtsNoRecoveryAndHeals) {
  E2E_TRY(const auto dead, DeadPort::make());
  const auto config = [&](const std::string& address) {
    write("kubeconfig",
          "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"
          "clusters: [{name: k, cluster: {server: 'https://" +
              address +
              "', certificate-authority: ca.crt}}]\nusers: [{name: u, user: {tokenFile: token}}]\n");
  };
  ASSERT_NO_FATAL_FAILURE(during(
      "away: nothing listens", "refused", [&] { config(dead.address()); }, [&] { config(api_.address()); }));
}

/// Not failures: the history is short, and watches end.
TEST_F(ApiServerFailures, AHistoryThatIsGoneIsListedAgain) {
  for (const bool byStatus : {true, false}) {
    api_.sayGoneByStatus(byStatus);
    api_.compact();
    const auto uid = std::string(byStatus ? "uid-7" : "uid-8");
    api_.put(podJson("new-" + uid, uid, nodeName()));
    api_.compact();
    api_.endWatches(FakeApiServer::End::cut);
    const auto wanted = byStatus ? "apiserver=up 2 pods" : "apiserver=up 3 pods";
    ASSERT_TRUE(shows(wanted)) << shown() << shop_->daemon->logText();
    rows_.push_back(
        json::object{{"source", "apiserver"},
                     {"failure", byStatus ? "history gone (410)" : "history gone (410 as an event)"},
                     {"degrades", "nothing: it lists again at once"},
                     {"error", ""},
                     {"rescuedMs", 0},
                     {"healedMs", 0}});
  }
}

class KubeletFailures : public SourceFailures {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(SourceFailures::SetUp());
    kubelet_.setPods({podJson("static-1", "uid-2", nodeName())});
    runDaemon("[kubelet, apiserver]", [](DaemonOptions&) {});
    ASSERT_TRUE(becomes("apiserver", "up")) << shown();
  }
  void during(const std::string& failure, const std::string& says, const std::function<void()>& begin,
              const std::function<void()>& end) {
    begin();
    ASSERT_NO_FATAL_FAILURE(checkFailing("kubelet", failure, says));
    EXPECT_EQ(textOf(stateOf("apiserver"), "state"), "up")
        << "one source's failure does not affect the other";
    end();
    ASSERT_NO_FATAL_FAILURE(checkHealed("kubelet", failure));
  }
};

TEST_F(KubeletFailures, AreSeenHurtNoRecoveryAndHeal) {
  for (const auto& one : kFailures) {
    ASSERT_NO_FATAL_FAILURE(during(
        one.name, one.says, [&] { kubelet_.trouble(one.trouble); }, [&] { kubelet_.heal(); }));
  }
}

TEST_F(KubeletFailures, OfTrustAreSeenHurtNoRecoveryAndHeal) {
  ASSERT_NO_FATAL_FAILURE(during(
      "token not accepted (401)", "401", [&] { kubelet_.acceptTokens({"secret-2"}); },
      [&] { kubelet_.acceptTokens({"secret-1"}); }));
  const auto other = Authority::selfSigned("DNS:node");
  ASSERT_NO_FATAL_FAILURE(during(
      "another certificate", "certificate", [&] { kubelet_.certify(other); },
      [&] { write("kubelet.crt", other.certificate); }));
}

}  // namespace
}  // namespace fallbackd::e2e
