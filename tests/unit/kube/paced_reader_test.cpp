// SPDX-License-Identifier: Apache-2.0
// ConfigMaps and Secrets of many pods: each namespace is read at its own pace.
#include "kube/paced_reader.hpp"

#include "source_fixture.hpp"

#include <map>
#include <utility>

namespace fallbackd::kube {
namespace {

using kube_test::FakeApiServer;

class PacedReaderTest : public test_support::SourceFixture {
 protected:
  PacedReaderTest() {
    servers = {&server};
    server.acceptTokens({"secret-1"});
    for (const auto* const space : {"noisy", "shop"}) {
      server.putOwner("/api/v1/namespaces/" + std::string(space) + "/configmaps/settings",
                      R"({"data":{"MODE":"fast"}})");
    }
    access.server = parseUrl("https://" + server.address()).value();
    access.authorities.text = authority.certificate();
    access.token.text = "secret-1";
  }
  void ask(const std::string& space) {
    NamedObjects names;
    names.configMaps.insert("settings");
    tasks.spawn(
        [](PacedReaderTest& test, std::string asked, NamedObjects wanted) -> boost::asio::awaitable<void> {
          const auto answers = co_await test.reader.read(asked, std::move(wanted));
          if (answers.configMaps.contains("settings")) ++test.read[asked];
        }(*this, space, std::move(names)));
  }

  FakeApiServer server{authority.server("IP:127.0.0.1")};
  Access access;
  PacedReader reader{loop.get_executor(), [this] { return Result<Access>(access); }};
  std::map<std::string, unsigned> read;
};

TEST_F(PacedReaderTest, ANamespaceThatAsksTooOftenWaitsAlone) {
  constexpr unsigned kMore = 3;
  for (unsigned i = 0; i < PacedReader::kBurst + kMore; ++i) ask("noisy");
  ask("shop");
  EXPECT_TRUE(soon([&] { return read["shop"] == 1 && read["noisy"] == PacedReader::kBurst; }));
  for (unsigned i = 1; i <= kMore; ++i) {
    // If a read for the other namespace were under way, it would end before these three.
    for (unsigned n = 0; n < 3; ++n) ask("shop");
    EXPECT_TRUE(soon([&] { return read["shop"] == 3 * i + 1; }));
    EXPECT_EQ(read["noisy"], PacedReader::kBurst + i - 1) << "no time has passed";
    clock.advance(loop, PacedReader::kInterval);
    EXPECT_TRUE(soon([&] { return read["noisy"] == PacedReader::kBurst + i; }));
  }
  EXPECT_TRUE(soon([&] { return tasks.empty(); }));
}

TEST_F(PacedReaderTest, OneOfANamespaceAtOnce) {
  server.trouble({kube_test::Fault::silent_accept, 500, "", "", 1});
  ask("noisy");
  ASSERT_TRUE(soon([&] { return server.connections() == 1; }));
  ask("noisy");
  ask("shop");
  EXPECT_TRUE(soon([&] { return read["shop"] == 1; })) << "the other namespace need not wait";
  EXPECT_EQ(server.connections(), 2U);
  clock.advance(loop, ObjectReader::kLimit);
  EXPECT_TRUE(soon([&] { return read["noisy"] == 1; })) << "after the first was given up";
}

}  // namespace
}  // namespace fallbackd::kube
