// SPDX-License-Identifier: Apache-2.0
// Each operation of a pull with each fault, proxies, mirrors, hostile names, HTTP/2, on each containerd.
// Every test run covers a sample of the rows; scripts/report detection covers all of them.
#include "connect_proxy.hpp"
#include "fault_rows.hpp"
#include "http2_server.hpp"

#include <cstdlib>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;

class Faults : public Detection {
 protected:
  void add(std::vector<Case> rows) {
    for (auto& row : rows) {
      if (!row.sample && !reports()) continue;
      if (only_ != nullptr && row.name.find(only_) == std::string::npos) continue;
      ASSERT_NO_FATAL_FAILURE(addRow(std::move(row), "tag"));
    }
  }

 private:
  /// To examine a single row: part of its name.
  const char* only_ = std::getenv("FAULTS_ONLY");  // NOLINT(concurrency-mt-unsafe)
};

TEST_P(Faults, EveryOperationAndEveryFault) {
  open();
  if (IsSkipped() || HasFatalFailure()) return;
  const auto dead = shop_->registry.address();
  auto slowest = crawlingFromDockerHub();
  if (!reports()) slowest.fault.bytesPerSecond *= 20;
  ASSERT_NO_FATAL_FAILURE(addRow(std::move(slowest), "tag"));
  ASSERT_NO_FATAL_FAILURE(add(redirectRows(dead)));
  ASSERT_NO_FATAL_FAILURE(add(operationRows()));
  ASSERT_NO_FATAL_FAILURE(add(slowRows()));
  ASSERT_NO_FATAL_FAILURE(add(jobRows(dead)));
  ASSERT_NO_FATAL_FAILURE(judgeAll());
  write("-faults");
}

TEST_P(Faults, ProxiesMirrorsAndHostileNames) {
  E2E_TRY(const auto proxy, ConnectProxy::start());
  E2E_TRY(const auto dead, DeadPort::make());
  E2E_TRY(const auto absent, StatusServer::start(404));
  E2E_TRY(const auto down, StatusServer::start(503));
  E2E_TRY(const auto refusing, StatusServer::start(403));
  NodeOptions node;
  node.environment = {{"HTTPS_PROXY", proxy->url()}, {"HTTP_PROXY", "http://" + dead.address()}};
  open(node);
  if (IsSkipped() || HasFatalFailure()) return;
  ASSERT_NO_FATAL_FAILURE(add(proxyRows()));
  ASSERT_NO_FATAL_FAILURE(add(mirrorRows({"http://" + dead.address(), "http://" + absent->address(),
                                          "http://" + down->address(), "http://" + refusing->address()})));
  ASSERT_NO_FATAL_FAILURE(add(hostileRows()));
  ASSERT_NO_FATAL_FAILURE(judgeAll());
  write("-around");
}

/// A containerd that does not offer HTTP/2 sees a closed connection, which is also an outage.
TEST_P(Faults, Http2) {
  open();
  if (IsSkipped() || HasFatalFailure()) return;
  const auto identity = certificate(1h);
  const std::vector<std::pair<std::string, Http2Fault>> faults{
      {"GOAWAY", Http2Fault::goaway},
      {"GOAWAY with words", Http2Fault::goaway_calm},
      {"GOAWAY within the body", Http2Fault::goaway_within_body},
      {"RST_STREAM", Http2Fault::reset_stream},
      {"RST_STREAM within the body", Http2Fault::reset_within_body},
  };
  std::vector<std::unique_ptr<Http2Server>> servers;
  for (const auto& [name, fault] : faults) {
    for (const auto* operation : {"resolve", "layer"}) {
      E2E_TRY(auto server, Http2Server::start(fault, identity));
      const auto url = "https://" + server->address();
      Case row{.name = std::string(operation) + ": " + name,
               .expected = "unreachable",
               .recovered = true,
               .image = "http2-" + std::to_string(servers.size()) + ".test/shop/ROW:1.8.3",
               .trusts = identity};
      const bool layer = operation == std::string("layer");
      if (!reports() && layer != (fault == Http2Fault::reset_within_body)) continue;
      row.hosts = {layer ? std::string() : url};
      if (layer) {
        row.fault.elsewhere = url + "/";
        row.limitMs = kStoredMs;
      }
      servers.push_back(std::move(server));
      ASSERT_NO_FATAL_FAILURE(addRow(std::move(row), "tag"));
    }
  }
  ASSERT_NO_FATAL_FAILURE(judgeAll());
  std::size_t offered = 0;
  for (const auto& server : servers) {
    EXPECT_TRUE(server->asked());
    if (server->offered()) ++offered;
  }
  std::printf("  containerd %s offered HTTP/2 in %zu of %zu cases\n", shop_->node->version().c_str(), offered,
              servers.size());
  write("-http2");
}

INSTANTIATE_TEST_SUITE_P(Containerd, Faults, testing::Values("installed", "trixie", "sid"),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace fallbackd::e2e
