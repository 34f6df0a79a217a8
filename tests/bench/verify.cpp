// SPDX-License-Identifier: Apache-2.0
// The admission pass (copy into sealed memory, hash, check the form) compared with openssl's own digest of
// the same file, interleaved in one run.
#include "figures.hpp"
#include "shell.hpp"
#include "signed_cache.hpp"

#include <cstdio>

#include <boost/json.hpp>

namespace fallbackd::bench {
namespace {

constexpr std::size_t kBytes = 200U << 20U;
constexpr int kRounds = 15;
constexpr double kGoal = 0.9;

double gigabytesPerSecond(double millis) {
  return static_cast<double>(kBytes) / 1e6 / millis;
}

double millisSince(Stamp start) {
  return toMillis(Monotonic::now() - start);
}

int bench() {
  const test::SignedCache cache;
  auto bytes = test::program("elf-static-pie");
  bytes.resize(kBytes, '\x5a');
  cache.put(cache.ref, bytes);
  const auto digest = toHex(cache::Sha256::of(bytes));
  bytes = {};
  cache::AdmissionOptions options;
  options.owner = ::geteuid();
  cache::Admission admission(cache.settings(), options);
  const std::string openssl = "openssl dgst -sha256 " + cache.file(cache.ref.fileName());

  Series ours{"admission: copy, seal, sha256, ELF", {}};
  Series theirs{"openssl dgst -sha256", {}};
  for (int round = 0; round <= kRounds; ++round) {
    auto start = Monotonic::now();
    const auto admitted = admission.admit(cache.ref, Wall::now());
    const double mine = millisSince(start);
    if (!admitted) return conclude("verify", admitted.error().message(), {});
    start = Monotonic::now();
    const auto output = test::shell(openssl);
    const double other = millisSince(start);
    if (output.code != 0 || output.text.find(digest) == std::string::npos) {
      return conclude("verify", "openssl reports " + output.text, {});
    }
    if (round == 0) continue;  // the first reader pays for the disk
    ours.millis.push_back(mine);
    theirs.millis.push_back(other);
  }
  printHead("200 MiB, 15 rounds each, ms");
  boost::json::array rows{report(ours), report(theirs)};
  const double us = gigabytesPerSecond(percentile(ours.millis, 50));
  const double them = gigabytesPerSecond(percentile(theirs.millis, 50));
  printFigure("admission", us, "GB/s");
  printFigure("openssl", them, "GB/s");
  printFigure("ratio of the medians", us / them, "x");
  return conclude(
      "verify", us >= kGoal * them ? "" : "below 0.9 of openssl's throughput",
      {{"series", std::move(rows)}, {"gigabytesPerSecond", us}, {"openssl", them}, {"ratio", us / them}});
}

}  // namespace
}  // namespace fallbackd::bench

int main() {
  return fallbackd::bench::bench();
}
