// SPDX-License-Identifier: Apache-2.0
// ConfigMaps and Secrets, requested by name.
#include "kube/object_reader.hpp"

#include "source_fixture.hpp"

#include <boost/asio/co_spawn.hpp>

namespace fallbackd::kube {
namespace {

using kube_test::FakeApiServer;
using kube_test::Fault;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ObjectReaderTest : public test_support::SourceFixture {
 protected:
  ObjectReaderTest() {
    servers = {&server};
    server.acceptTokens({"secret-1"});
    server.putOwner("/api/v1/namespaces/shop/configmaps/settings", R"({"data":{"MODE":"fast"}})");
    server.putOwner("/api/v1/namespaces/shop/secrets/db", R"({"data":{"password":"czNjcmV0","broken":"%"}})");
    access.server = parseUrl("https://" + server.address()).value();
    access.authorities.text = authority.certificate();
    access.token.text = "secret-1";
  }
  enum class Time : std::uint8_t { stands, passes };
  ObjectAnswers ask(NamedObjects names, Time time = Time::stands) {
    std::optional<ObjectAnswers> answers;
    const ObjectReader reader([this] { return Result<Access>(access); });
    tasks.spawn([](const ObjectReader& asked, NamedObjects wanted,
                   std::optional<ObjectAnswers>& out) -> boost::asio::awaitable<void> {
      out = co_await asked.read("shop", std::move(wanted));
    }(reader, std::move(names), answers));
    const auto done = [&] { return answers.has_value() && tasks.empty(); };
    EXPECT_TRUE(time == Time::stands ? soon(done) : eventually(done));
    return answers.value_or(ObjectAnswers());
  }

  FakeApiServer server{authority.server("IP:127.0.0.1")};
  Access access;
};

TEST_F(ObjectReaderTest, ReadsEachByNameOverOneConnection) {
  const auto answers = ask({{"settings"}, {"db"}});
  EXPECT_EQ(answers.configMaps.at("settings")->at("MODE"), "fast");
  EXPECT_EQ(answers.secrets.at("db"), (std::map<std::string, std::string>{{"password", "s3cret"}}));
  EXPECT_THAT(answers.troubles, IsEmpty());
  EXPECT_EQ(server.connections(), 1U);
  EXPECT_THAT(server.violations(), IsEmpty());
}

TEST_F(ObjectReaderTest, AServerMayCloseBehindEachAnswer) {
  server.closeBehindAnswers();
  const auto answers = ask({{"settings"}, {"db"}});
  EXPECT_EQ(answers.configMaps.at("settings")->at("MODE"), "fast");
  ASSERT_TRUE(answers.secrets.contains("db")) << testing::PrintToString(answers.troubles);
  EXPECT_EQ(server.connections(), 2U);
}

TEST_F(ObjectReaderTest, AMissingObjectIsKnownToBeMissing) {
  const auto answers = ask({{"gone"}, {}});
  ASSERT_TRUE(answers.configMaps.contains("gone"));
  EXPECT_FALSE(answers.configMaps.at("gone"));
}

TEST_F(ObjectReaderTest, ANameThatLeadsElsewhereIsNotAskedFor) {
  const auto answers = ask({{"settings"}, {"../../bank/secrets/db", "..", ".", "db%2fstatus"}});
  EXPECT_TRUE(answers.configMaps.contains("settings"));
  EXPECT_THAT(answers.secrets, IsEmpty()) << "no invalid name gets an answer";
  EXPECT_EQ(answers.troubles.size(), 4U);
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST_F(ObjectReaderTest, ARefusalNamesTheRoleThatIsMissing) {
  server.trouble({Fault::status, 403, "", "forbidden"});
  const auto answers = ask({{"settings"}, {"db"}});
  EXPECT_THAT(answers.configMaps, IsEmpty());
  EXPECT_THAT(answers.troubles,
              ElementsAre(HasSubstr("allows to get configmaps"), HasSubstr("allows to get secrets")));
}

TEST_F(ObjectReaderTest, ASilentServerIsGivenUp) {
  server.trouble({Fault::silent_accept});
  const auto answers = ask({{"settings"}, {}}, Time::passes);
  EXPECT_THAT(answers.configMaps, IsEmpty());
  ASSERT_EQ(answers.troubles.size(), 1U);
}

TEST(NamedObjects, AreThoseOfVariablesAlone) {
  Pod pod;
  auto& container = pod.containers.emplace_back();
  container.env.push_back({"A", "", KeyRef{KeyRef::Kind::secret, "db", "k", false}});
  container.env.push_back({"B", "given", KeyRef{KeyRef::Kind::secret, "unused", "k", false}});
  container.envFrom.push_back({KeyRef::Kind::config_map, "settings", "", false});
  pod.volumes.emplace_back().data.push_back({VolumeData::Kind::secret, "mounted", {}});
  auto& ordinary = pod.initContainers.emplace_back();
  ordinary.env.push_back({"C", "", KeyRef{KeyRef::Kind::secret, "init", "k", false}});
  const auto named = namedObjects(pod);
  EXPECT_THAT(named.secrets, ElementsAre("db"));
  EXPECT_THAT(named.configMaps, ElementsAre("settings"));
}

}  // namespace
}  // namespace fallbackd::kube
