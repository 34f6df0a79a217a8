// SPDX-License-Identifier: Apache-2.0
// How recoveries get their binaries, and what is reported to the operator about them.
#include "recovery/binaries.hpp"

#include "run_until.hpp"
#include "signed_cache.hpp"
#include "telemetry/metrics.hpp"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

namespace fallbackd::recovery {
namespace {

using namespace std::chrono_literals;

TEST(Binaries, UseOfAnExpiredOneInItsGraceIsCounted) {
  ASSERT_EQ(::geteuid(), 0U) << "the cache must belong to root";
  test::SignedCache cache;
  const auto bytes = test::program("elf-static-pie");
  auto statement = test::SignedCache::statementFor(cache.ref, bytes);
  statement.expires = Clock::system().wall() - 1h;
  cache.put(cache.ref, bytes, statement, cache.key);
  auto config = std::make_shared<config::Config>();
  config->cache = cache.settings();
  config->cache.expiryGrace = 48h;
  config->workloads.emplace_back();
  config->workloads[0].name = "checkout";
  config->workloads[0].binary = cache.ref;

  boost::asio::io_context loop;
  telemetry::Metrics metrics("test");
  telemetry::Log log(config::LogFormat::json, config::LogLevel::error);
  CachedBinaries binaries(loop.get_executor(), config->cache, metrics.cache, log);
  int acquired = 0;
  auto use = [&]() -> boost::asio::awaitable<void> {
    co_await binaries.refresh(config);
    const Chooser chooser{Provenance::configuration, "a-namespace-of-more-than-fifteen-bytes"};
    for (int i = 0; i < 2; ++i) {
      const auto one = co_await binaries.acquire(cache.ref, chooser);
      acquired += one && *one != nullptr ? 1 : 0;
    }
  };
  auto running = use();
  bool done = false;
  boost::asio::co_spawn(loop, std::move(running), [&](std::exception_ptr) { done = true; });
  EXPECT_TRUE(test::runUntil(loop, [&] { return done; }));
  EXPECT_EQ(acquired, 2);
  const auto text = metrics.serialize();
  EXPECT_NE(text.find("fallbackd_expiry_grace_uses_total{binary=\"checkout@1.8.3\"} 2"), std::string::npos)
      << text;
  const auto series = text.find("fallbackd_workload_binary_expiry_timestamp_seconds{");
  ASSERT_NE(series, std::string::npos) << text;
  const auto when = std::stod(text.substr(text.find("} ", series) + 2));
  EXPECT_NEAR(when, std::chrono::duration<double>(statement.expires.time_since_epoch()).count(), 1.0);
}

/// The result of acquire() for each of these choosers: "admitted", or the reason of the refusal.
struct ChooserTest : testing::Test {
  void SetUp() override { ASSERT_EQ(::geteuid(), 0U) << "the cache must belong to root"; }
  void put(const BinaryRef& ref, std::optional<std::vector<std::string>> namespaces = {}) {
    auto statement = test::SignedCache::statementFor(ref, bytes);
    statement.namespaces = std::move(namespaces);
    cache.put(ref, bytes, statement, cache.key);
  }
  std::vector<std::string> ask(const BinaryRef& ref, const std::vector<Chooser>& choosers) {
    auto config = std::make_shared<config::Config>();
    config->cache = cache.settings();
    for (const auto& one : configured) {
      config->workloads.emplace_back();
      config->workloads.back().name = one.fileName();
      config->workloads.back().binary = one;
    }
    boost::asio::io_context loop;
    telemetry::Metrics metrics("test");
    telemetry::Log log(config::LogFormat::json, config::LogLevel::error);
    CachedBinaries binaries(loop.get_executor(), config->cache, metrics.cache, log);
    std::vector<std::string> said;
    auto use = [&]() -> boost::asio::awaitable<void> {
      co_await binaries.refresh(config);
      for (const auto& chooser : choosers) {
        const auto one = co_await binaries.acquire(ref, chooser);
        said.emplace_back(one ? "admitted" : toString(one.error().reason));
      }
    };
    auto running = use();
    bool done = false;
    boost::asio::co_spawn(loop, std::move(running), [&](std::exception_ptr) { done = true; });
    EXPECT_TRUE(test::runUntil(loop, [&] { return done; }));
    return said;
  }

  static constexpr auto kPod = Provenance::annotation;
  static constexpr auto kOperator = Provenance::configuration;
  using Said = std::vector<std::string>;
  test::SignedCache cache;
  std::string bytes = test::program("elf-static-pie");
  std::vector<BinaryRef> configured;
};

TEST_F(ChooserTest, APodMayChooseWhatTheAttestationAllowsItsNamespace) {
  RecordProperty("item", "10");
  RecordProperty("attack",
                 "A pod of another namespace chooses a binary that was signed for the shop's pods alone");
  put(cache.ref, std::vector<std::string>{"shop", "shop-test"});
  const std::vector<Chooser> choosers{
      {kPod, "shop"}, {kPod, "bank"}, {kPod, "shop-test"}, {kPod, ""}, {kOperator, "bank"}};
  const Said expected{"admitted", "not_permitted", "admitted", "not_permitted", "admitted"};
  EXPECT_EQ(ask(cache.ref, choosers), expected);
  configured = {cache.ref};
  EXPECT_EQ(ask(cache.ref, choosers), expected) << "the copy is resident from the beginning";
  put(cache.ref, std::vector<std::string>{});
  EXPECT_EQ(ask(cache.ref, {{kPod, "shop"}, {kOperator, "shop"}}), (Said{"not_permitted", "admitted"}));
}

TEST_F(ChooserTest, AConfiguredBinaryNeedsNoPermissionOfTheAttestation) {
  put(cache.ref, std::vector<std::string>{"shop"});
  EXPECT_EQ(ask(cache.ref, {{Provenance::annotation, "bank", true}, {Provenance::annotation, "bank", false}}),
            (std::vector<std::string>{"admitted", "not_permitted"}));
}

TEST_F(ChooserTest, WithoutNamespacesTheNodesConfigurationDecides) {
  put(cache.ref);
  EXPECT_EQ(ask(cache.ref, {{kPod, "shop"}, {kPod, "bank"}}), (Said{"admitted", "admitted"}));
}

TEST_F(ChooserTest, APodChoosesNothingBelowTheFloor) {
  put({"checkout", "1.8.2"});
  put({"checkout", "1.8.3"});
  configured = {{"checkout", "1.8.3"}};
  EXPECT_EQ(ask({"checkout", "1.8.2"}, {{kPod, "shop"}, {kOperator, "shop"}}),
            (Said{"version_rollback", "admitted"}));
}

/// One binary, signed by one of the keyring's two keys, and a configuration that is reloaded.
struct ReloadTest : testing::Test {
  void SetUp() override {
    ASSERT_EQ(::geteuid(), 0U) << "the cache must belong to root";
    cache.addKey("two", *cache::PrivateKey::generate(cache::KeyType::p256));
    cache.put(cache.ref, bytes);
    binaries.emplace(loop.get_executor(), settings, metrics.cache, log);
    ASSERT_EQ(reloaded(), "admitted, resident");
  }
  /// The result of acquire() after a reload of `settings`, and whether a copy is resident.
  std::string reloaded() {
    auto config = std::make_shared<config::Config>();
    config->cache = settings;
    config->workloads.emplace_back();
    config->workloads[0].name = "checkout";
    config->workloads[0].binary = cache.ref;
    std::string said;
    auto use = [&]() -> boost::asio::awaitable<void> {
      co_await binaries->refresh(config);
      const Chooser chooser{Provenance::configuration, "a-namespace-of-more-than-fifteen-bytes"};
      const auto one = co_await binaries->acquire(cache.ref, chooser);
      said = one ? "admitted" : std::string(toString(one.error().reason));
    };
    auto running = use();
    bool done = false;
    boost::asio::co_spawn(loop, std::move(running), [&](std::exception_ptr) { done = true; });
    EXPECT_TRUE(test::runUntil(loop, [&] { return done; }));
    const bool resident = binaries->states() && binaries->states()->at(0).resident;
    EXPECT_EQ(binaries->usage().residents, resident ? 1U : 0U);
    return said + (resident ? ", resident" : "");
  }

  test::SignedCache cache;
  std::string bytes = test::program("elf-static");
  config::CacheSettings settings = cache.settings();
  boost::asio::io_context loop;
  telemetry::Metrics metrics{"test"};
  telemetry::Log log{config::LogFormat::json, config::LogLevel::error};
  std::optional<CachedBinaries> binaries;
};

TEST_F(ReloadTest, AHigherThresholdRefusesWhatOneKeySigned) {
  settings.threshold = 2;
  EXPECT_EQ(reloaded(), "threshold_not_met");
  settings.threshold = 1;
  EXPECT_EQ(reloaded(), "admitted, resident");
}

TEST_F(ReloadTest, AnAddedRevocationListCounts) {
  test::writeBytes(cache.path("revoked"), toHex(cache::Sha256::of(bytes)) + "\n", 0644);
  settings.revoked = cache.path("revoked");
  EXPECT_EQ(reloaded(), "revoked");
  settings.revoked.reset();
  EXPECT_EQ(reloaded(), "admitted, resident");
}

TEST_F(ReloadTest, ARequiredPieIsRequiredAndForgotten) {
  settings.requirePie = true;
  EXPECT_EQ(reloaded(), "elf_not_pie");
  settings.requirePie = false;
  EXPECT_EQ(reloaded(), "admitted, resident") << "the earlier refusal was for a different rule";
}

TEST_F(ReloadTest, AnotherGracePeriodCounts) {
  auto statement = test::SignedCache::statementFor(cache.ref, bytes);
  statement.expires = Clock::system().wall() - 1h;
  cache.put(cache.ref, bytes, statement, cache.key);
  settings.expiryGrace = 48h;
  EXPECT_EQ(reloaded(), "admitted, resident");
  settings.expiryGrace = 30min;
  EXPECT_EQ(reloaded(), "expired");
}

TEST_F(ReloadTest, OtherFoldersCount) {
  std::filesystem::create_directory(cache.path("others"));
  settings.keys = cache.path("others");
  EXPECT_EQ(reloaded(), "keyring_invalid") << "the new folder has no trusted key";
  settings.keys = cache.settings().keys;
  EXPECT_EQ(reloaded(), "admitted, resident");
  settings.path = cache.path("others");
  EXPECT_EQ(reloaded(), "not_found");
}

TEST_F(ReloadTest, AnotherMemoryBudgetCounts) {
  settings.memoryBudgetBytes = 10;
  EXPECT_EQ(reloaded(), "admitted");
  settings.memoryBudgetBytes = cache.settings().memoryBudgetBytes;
  EXPECT_EQ(reloaded(), "admitted, resident");
}

TEST_F(ReloadTest, WithoutAChangeNothingIsReadAgain) {
  const auto hashed = binaries->usage().hashedBytes;
  EXPECT_EQ(reloaded(), "admitted, resident");
  settings.rollbacks = {{{"checkout", "1.9.0"}, "1.8.2"}};
  EXPECT_EQ(reloaded(), "admitted, resident");
  EXPECT_EQ(binaries->usage().hashedBytes, hashed);
}

}  // namespace
}  // namespace fallbackd::recovery
