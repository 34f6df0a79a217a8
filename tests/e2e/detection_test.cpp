// SPDX-License-Identifier: Apache-2.0
// Which failures of a pull start a fallback, on the real containerd: every cause that a registry can produce,
// by tag and by digest, as a table in the test's output.
#include "detection.hpp"

#include "run_dir.hpp"

#include <filesystem>
#include <fstream>

namespace fallbackd::e2e {
namespace {

using namespace std::chrono_literals;

std::vector<Case> outages(const std::string& deadHost) {
  constexpr double kStall = kStallTimeoutMs + kPromptMs;
  constexpr double kSilence = kResponseTimeoutMs + kPromptMs;
  // Counts from the layer's last byte; what precedes it also takes some time.
  constexpr double kMidway = kResponseTimeoutMs + kStoredMs;
  return {
      {.name = "nobody listens", .expected = "unreachable", .recovered = true, .host = deadHost},
      {.name = "name not known", .expected = "dns", .recovered = true, .host = "registry.invalid:5000"},
      {.name = "packets vanish",
       .expected = "timeout",
       .recovered = true,
       .host = "192.0.2.1:5000",
       .limitMs = kStall},
      {.name = "connection reset", .fault = {.reset = true}, .expected = "unreachable", .recovered = true},
      {.name = "accepts, stays silent",
       .fault = {.silent = true},
       .expected = "timeout",
       .recovered = true,
       .limitMs = kSilence},
      {.name = "layer stalls midway",
       .fault = {.stallAfter = 100'000},
       .expected = "timeout",
       .recovered = true,
       .limitMs = kMidway},
      {.name = "429", .fault = withStatus(429), .expected = "rate_limited", .recovered = true},
      {.name = "500", .fault = withStatus(500), .expected = "server_error", .recovered = true},
      {.name = "502", .fault = withStatus(502), .expected = "server_error", .recovered = true},
      {.name = "503", .fault = withStatus(503), .expected = "server_error", .recovered = true},
      {.name = "504", .fault = withStatus(504), .expected = "server_error", .recovered = true},
      {.name = "token: nobody listens",
       .fault = {.tokenRefused = true},
       .expected = "unreachable",
       .recovered = true},
      {.name = "token: 500", .fault = withToken(500), .expected = "server_error", .recovered = true},
  };
}

std::vector<Case> noOutages() {
  return {
      {.name = "no TLS", .fault = {.garbage = true}, .expected = "tls", .speech = Speech::https},
      {.name = "certificate not trusted",
       .expected = "tls",
       .speech = Speech::https,
       .certificate = certificate(1h)},
      {.name = "certificate expired",
       .expected = "tls",
       .speech = Speech::trusted,
       .certificate = certificate(-24h)},
      {.name = "no HTTP", .fault = {.garbage = true}, .expected = "unknown"},
      {.name = "401", .fault = withStatus(401), .expected = "unauthorized"},
      {.name = "401, requires a password",
       .fault = withStatus(401, "Basic realm=\"shop\""),
       .expected = "unauthorized"},
      {.name = "403", .fault = withStatus(403), .expected = "unauthorized"},
      {.name = "404", .fault = withStatus(404), .expected = "not_found"},
      {.name = "token: 401", .fault = withToken(401), .expected = "unauthorized"},
      {.name = "token: 403", .fault = withToken(403), .expected = "unauthorized"},
      {.name = "layer of wrong bytes", .fault = {.wrongBytes = true}, .expected = "unknown", .limitMs = 0},
      {.name = "answers after 900 ms", .fault = {.delay = 900ms}, .expected = "pulled", .limitMs = 0},
      {.name = "answers after 1.5 s", .fault = {.delay = 1500ms}, .expected = "pulled", .limitMs = 0},
      {.name = "slow: 200 KB/s", .fault = {.bytesPerSecond = 200'000}, .expected = "pulled", .limitMs = 0},
      {.name = "good, over TLS",
       .expected = "pulled",
       .speech = Speech::trusted,
       .certificate = certificate(1h),
       .limitMs = 0},
  };
}

/// Runs beside all other rows.
Case crawling() {
  return {.name = "slow: 50 KB/s for a minute",
          .fault = {.bytesPerSecond = 50'000},
          .expected = "pulled",
          .limitMs = 0,
          // The program itself is the rest of the 3 MB.
          .ballast = 2'000'000};
}

TEST_P(Detection, EveryCauseByTagAndByDigest) {
  open();
  if (IsSkipped() || HasFatalFailure()) return;
  ASSERT_NO_FATAL_FAILURE(addRow(crawling(), "tag"));
  for (const auto* kind : {"tag", "digest"}) {
    for (auto& one : outages(shop_->registry.address()))
      ASSERT_NO_FATAL_FAILURE(addRow(std::move(one), kind));
    for (auto& one : noOutages()) ASSERT_NO_FATAL_FAILURE(addRow(std::move(one), kind));
  }
  ASSERT_NO_FATAL_FAILURE(judgeAll());
  write("");
}

TEST_P(Detection, AFullDiskIsNotTheRegistrysFault) {
  open({.rootMiB = 24});
  if (IsSkipped() || HasFatalFailure()) return;
  ASSERT_NO_FATAL_FAILURE(
      addRow({.name = "disk full", .expected = "disk", .limitMs = 0, .ballast = 40'000'000}, "tag"));
  ASSERT_NO_FATAL_FAILURE(judgeAll());
  write("-disk");
}

TEST_P(Detection, AVerifiersRefusalIsNotTheRegistrysFault) {
  const auto verifiers = makeRunDir("verifiers");
  std::ofstream(verifiers / "refuses") << "#!/bin/sh\necho not signed\nexit 1\n";
  std::filesystem::permissions(verifiers / "refuses", std::filesystem::perms::owner_all);
  open({.verifiers = verifiers});
  if (IsSkipped() || HasFatalFailure()) return;
  if (shop_->node->version().starts_with("1.")) GTEST_SKIP() << "containerd 1 has no image verifiers";
  ASSERT_NO_FATAL_FAILURE(addRow({.name = "verifier refuses", .expected = "policy"}, "tag"));
  ASSERT_NO_FATAL_FAILURE(judgeAll());
  write("-verifier");
}

INSTANTIATE_TEST_SUITE_P(Containerd, Detection, testing::Values("installed", "trixie", "sid"),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace fallbackd::e2e
