// SPDX-License-Identifier: Apache-2.0
// Pauses by annotations of namespaces: which annotations count, and what is known while the API server is
// unreachable. The tests with pods cover the watch itself.
#include "kube/namespace_pauses.hpp"

#include "source_fixture.hpp"

#include <memory>
#include <vector>

namespace fallbackd::kube {
namespace {

using namespace std::chrono_literals;
using config::Pause;
using kube_test::FakeApiServer;
using kube_test::Fault;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kKey(config::kPauseAnnotation);

class NamespacePausesTest : public test_support::SourceFixture {
 protected:
  NamespacePausesTest() {
    servers = {&server};
    server.acceptTokens({"secret-1"});
    access.server = parseUrl("https://" + server.address()).value();
    access.authorities.file = folder.write("ca.crt", authority.certificate());
    access.token.file = folder.write("token", "secret-1");
  }
  ~NamespacePausesTest() override { EXPECT_THAT(server.violations(), IsEmpty()); }

  std::unique_ptr<NamespacePauses> make() {
    return std::make_unique<NamespacePauses>(
        loop.get_executor(), [this] { return Result<Access>(access); }, folder.path() + "/state",
        NamespaceListener{[this](const Pause::Orders& now) { orders = now; },
                          [this](const SourceState& now) { seen = now; },
                          [this](const std::string& what) { troubles.push_back(what); }});
  }
  void start() {
    orders = source->remember();
    tasks.spawn(source->run());
  }
  bool watches() {
    return soon([&] { return server.namespaceWatches() == 1 && seen.health == Health::up; });
  }
  bool pausesOnly(const std::map<std::string, std::string>& wanted) {
    return soon([&] {
      std::map<std::string, std::string> now;
      for (const auto& [name, order] : orders) now[name] = order.reason;
      return now == wanted;
    });
  }

  FakeApiServer server{authority.server("IP:127.0.0.1")};
  Access access;
  Pause::Orders orders;
  SourceState seen;
  std::vector<std::string> troubles;
  std::unique_ptr<NamespacePauses> source = make();
};

TEST_F(NamespacePausesTest, AnAnnotationPausesAndItsRemovalEndsIt) {
  server.putNamespace("shop", {{"team", "a"}});
  server.putNamespace("bank", {{kKey, "true"}});
  start();
  ASSERT_TRUE(watches());
  EXPECT_TRUE(pausesOnly({{"bank", ""}}));
  server.putNamespace("shop", {{kKey, "incident 4711"}});
  EXPECT_TRUE(pausesOnly({{"bank", ""}, {"shop", "incident 4711"}}));
  server.putNamespace("bank", {{kKey, "false"}});
  EXPECT_TRUE(pausesOnly({{"shop", "incident 4711"}}));
  server.putNamespace("shop");
  EXPECT_TRUE(pausesOnly({}));
  server.putNamespace("shop", {{kKey, "true"}});
  EXPECT_TRUE(pausesOnly({{"shop", ""}}));
  server.removeNamespace("shop");
  EXPECT_TRUE(pausesOnly({}));
  EXPECT_THAT(troubles, IsEmpty());
}

TEST_F(NamespacePausesTest, TheFirstTimeCountsForAsLongAsTheReasonStays) {
  server.putNamespace("shop", {{kKey, "true"}});
  start();
  ASSERT_TRUE(watches());
  const auto since = orders.at("shop").since;
  EXPECT_EQ(since, std::chrono::floor<std::chrono::seconds>(clock.wall()));
  clock.advance(loop, 10s);
  server.putNamespace("shop", {{kKey, "true"}, {"other", "x"}});
  server.putNamespace("bank", {{kKey, "true"}});
  ASSERT_TRUE(pausesOnly({{"bank", ""}, {"shop", ""}}));
  EXPECT_EQ(orders.at("shop").since, since);
  EXPECT_EQ(orders.at("bank").since, since + 10s);
  server.putNamespace("shop", {{kKey, "now for another reason"}});
  ASSERT_TRUE(pausesOnly({{"bank", ""}, {"shop", "now for another reason"}}));
  EXPECT_EQ(orders.at("shop").since, since + 10s);
}

TEST_F(NamespacePausesTest, WhatIsKnownOutlivesTheServerAndTheDaemon) {
  server.putNamespace("shop", {{kKey, "incident 4711"}});
  start();
  ASSERT_TRUE(watches());
  const auto before = orders;
  server.trouble({Fault::status, 503});
  server.endWatches(FakeApiServer::End::cut);
  EXPECT_TRUE(eventually([&] { return seen.health == Health::failing; }));
  EXPECT_EQ(orders, before) << "the server is unreachable";
  EXPECT_TRUE(seen.lastSuccess);

  tasks.cancelAll();
  ASSERT_TRUE(test::runWhileTimeStands(loop, [&] { return tasks.empty(); }));
  orders.clear();
  seen = {};
  source = make();
  start();
  EXPECT_EQ(orders, before) << "a daemon starts meanwhile";
  EXPECT_TRUE(eventually([&] { return seen.health == Health::failing; }));
  EXPECT_THAT(seen.error, HasSubstr("list namespaces"));
  server.putNamespace("shop");
  server.heal();
  EXPECT_TRUE(eventually([&] { return orders.empty(); })) << "the server's answer counts again";
}

TEST_F(NamespacePausesTest, InvalidNamesDoNotCount) {
  server.putNamespace("it's\nme", {{kKey, "true"}});
  server.putNamespace("shop", {{kKey, "true"}});
  start();
  ASSERT_TRUE(watches());
  EXPECT_TRUE(pausesOnly({{"shop", ""}}));
}

TEST_F(NamespacePausesTest, AnUnreadableFileIsReportedAndReplaced) {
  std::filesystem::create_directories(folder.path() + "/state");
  folder.write("state/namespace-pauses.yaml", "namespaces: yes please\n");
  server.putNamespace("shop", {{kKey, "true"}});
  start();
  EXPECT_THAT(orders, IsEmpty());
  ASSERT_EQ(troubles.size(), 1U);
  EXPECT_THAT(troubles.front(), HasSubstr("namespace-pauses.yaml:1:"));
  ASSERT_TRUE(watches());
  EXPECT_EQ(config::readAnnotatedPauses(folder.path() + "/state").value().size(), 1U);
}

TEST_F(NamespacePausesTest, AFailedSaveIsRetriedWithoutAChange) {
  const auto inTheWay = folder.path() + "/state/.namespace-pauses.yaml.new";
  std::filesystem::create_directories(inTheWay);
  server.putNamespace("shop", {{kKey, "true"}});
  start();
  ASSERT_TRUE(watches());
  ASSERT_EQ(troubles.size(), 1U);
  std::filesystem::remove(inTheWay);
  clock.advance(loop, 30s);
  server.endWatches(FakeApiServer::End::clean);
  EXPECT_TRUE(eventually([&] {
    const auto saved = config::readAnnotatedPauses(folder.path() + "/state");
    return saved && saved->contains("shop");
  }));
  EXPECT_EQ(troubles.size(), 1U);
}

TEST_F(NamespacePausesTest, AMissingRightIsReported) {
  server.trouble({Fault::status, 403});
  start();
  EXPECT_TRUE(eventually([&] { return seen.health == Health::failing; }));
  EXPECT_THAT(seen.error, HasSubstr("list and watch namespaces is missing"));
}

}  // namespace
}  // namespace fallbackd::kube
