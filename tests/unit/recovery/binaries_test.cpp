// Where recoveries get their binaries from: what the operator is told of them.
#include "recovery/binaries.hpp"

#include "signed_cache.hpp"

#include <memory>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

namespace fallbackd::recovery {
namespace {

using namespace std::chrono_literals;

TEST(Binaries, TheUseOfAnExpiredOneInItsGraceIsMetered) {
  ASSERT_EQ(::geteuid(), 0U) << "the cache must belong to root";
  test::SignedCache cache;
  const auto bytes = test::program("elf-static-pie");
  auto statement = test::SignedCache::statementFor(cache.ref, bytes);
  statement.expires = Wall::now() - 1h;
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
  CachedBinaries binaries(loop.get_executor(), config->cache, metrics, log);
  int acquired = 0;
  auto use = [&]() -> boost::asio::awaitable<void> {
    co_await binaries.refresh(config);
    for (int i = 0; i < 2; ++i) {
      const auto one = co_await binaries.acquire(cache.ref);
      acquired += one && *one != nullptr ? 1 : 0;
    }
  };
  auto running = use();
  boost::asio::co_spawn(loop, std::move(running), [](std::exception_ptr) {});
  loop.run_for(20s);
  EXPECT_EQ(acquired, 2);
  const auto text = metrics.serialize();
  EXPECT_NE(text.find("fallbackd_expiry_grace_uses_total{binary=\"checkout@1.8.3\"} 2"), std::string::npos)
      << text;
  const auto series = text.find("fallbackd_workload_binary_expiry_timestamp_seconds{");
  ASSERT_NE(series, std::string::npos) << text;
  const auto when = std::stod(text.substr(text.find("} ", series) + 2));
  EXPECT_NEAR(when, std::chrono::duration<double>(statement.expires.time_since_epoch()).count(), 1.0);
}

}  // namespace
}  // namespace fallbackd::recovery
