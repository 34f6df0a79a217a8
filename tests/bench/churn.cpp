// SPDX-License-Identifier: Apache-2.0
// Many pods come and go, most of them with hostile annotations. Measures what that costs the daemon and
// honest pods. Twenty thousand pods on a fake CRI socket: no real node carries that many, and the heap needs
// the first ten thousand to reach its final size. The honest pods among them have a real pause process, so
// that their fallbacks are really launched. Then 300 real sandboxes on the real containerd.
#include "fake_node.hpp"
#include "figures.hpp"
#include "fleet.hpp"
#include "hostile.hpp"
#include "isolate.hpp"
#include "shop.hpp"
#include "wait.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <thread>

#include <boost/json.hpp>

namespace fallbackd::bench {
namespace {

using namespace std::chrono_literals;
using namespace fallbackd::e2e;
namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::size_t kEvery = 50;  // one pod of this many is honest
constexpr auto kPace = 15ms;        // between two pods
constexpr auto kCeiling = 60s;
constexpr auto kMaxTime = 15min;  // for one part
constexpr std::size_t kEverySample = 100;

// The criteria for flat and bounded: the last quarter compared with the second.
constexpr double kMemoryMargin = 1.10;
constexpr double kMemoryMarginMiB = 4;
constexpr double kDescriptorMargin = 16;
constexpr double kThreadMargin = 2;
constexpr double kMaxMiB = 256;
constexpr double kMaxDescriptors = 512;
// How much hostile pods may add to the P99 of honest ones: a tenth of the field's published 2.3 s.
constexpr double kMaxAddedMs = 230;

struct Sample {
  double residentMiB = 0;  // daemon and spawner
  double descriptors = 0;  // daemon
  double threads = 0;
};

std::size_t entriesOf(const fs::path& folder) {
  std::error_code gone;
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(folder, gone), fs::directory_iterator()));
}

Result<Sample> sampleOf(pid_t daemon) {
  FB_TRY(const auto usage, usageOf(daemon));
  const fs::path process = "/proc/" + std::to_string(daemon);
  return Sample{usage.residentMiB, static_cast<double>(entriesOf(process / "fd")),
                static_cast<double>(entriesOf(process / "task"))};
}

void addWhy(std::string& why, const std::string& what) {
  why += (why.empty() ? "" : "; ") + what;
}

Result<std::vector<double>> honestAlone(std::size_t count) {
  FB_TRY(const auto node, FakeNode::open());
  for (std::size_t i = 0; i < count; ++i) {
    node->addHonest(i);
    node->tend();
    std::this_thread::sleep_for(100ms);  // the pace
  }
  return node->recoveries();
}

double meanOf(const std::vector<Sample>& samples, std::size_t quarter, double Sample::*member) {
  const auto begin = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() * quarter / 4);
  const auto end = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() * (quarter + 1) / 4);
  const double sum =
      std::accumulate(begin, end, 0.0, [&](double so, const Sample& one) { return so + one.*member; });
  return sum / static_cast<double>(end - begin);
}

double mostOf(const std::vector<Sample>& samples, double Sample::*member) {
  double most = 0;
  for (const auto& one : samples) most = std::max(most, one.*member);
  return most;
}

struct Row {
  const char* name;
  double Sample::*member;
  double factor;
  double margin;
  double ceiling;
};

/// Prints a table of quarters; adds to `why` what is not flat or exceeds its ceiling.
json::object reportSamples(const std::vector<Sample>& samples, std::string& why) {
  std::printf("\n  %-34s %8s %8s %8s %8s %8s\n", "mean of each quarter of the run", "1st", "2nd", "3rd",
              "4th", "most");
  json::object result;
  for (const Row& row :
       {Row{"resident memory, MiB", &Sample::residentMiB, kMemoryMargin, kMemoryMarginMiB, kMaxMiB},
        Row{"descriptors", &Sample::descriptors, 1, kDescriptorMargin, kMaxDescriptors},
        Row{"threads", &Sample::threads, 1, kThreadMargin, kMaxDescriptors}}) {
    json::array quarters;
    std::printf("  %-34s", row.name);
    for (std::size_t quarter = 0; quarter < 4; ++quarter) {
      quarters.push_back(meanOf(samples, quarter, row.member));
      std::printf(" %8.1f", quarters.back().as_double());
    }
    const double most = mostOf(samples, row.member);
    std::printf(" %8.1f\n", most);
    if (quarters[3].as_double() > quarters[1].as_double() * row.factor + row.margin) {
      addWhy(why, std::string(row.name) + " grows");
    }
    if (most > row.ceiling)
      addWhy(why, std::string(row.name) + ": more than " + std::to_string(int(row.ceiling)));
    result[row.name] = json::object{{"quarters", std::move(quarters)}, {"most", most}};
  }
  return result;
}

Result<json::object> onFakeSocket(std::size_t pods, std::string& why) {
  const std::size_t honest = pods / kEvery;
  std::printf(
      "\n  %zu pods on a FAKE CRI socket, %zu at a time, one in %zu honest (with a real pause process)\n",
      pods, FakeNode::kAtOnce, kEvery);
  FB_TRY(const auto quiet, honestAlone(honest));
  FB_TRY(const auto node, FakeNode::open());
  const Stopwatch watch;
  std::vector<Sample> samples;
  std::size_t added = 0;
  for (std::size_t number = 0; number < pods; ++number) {
    if (watch.elapsed() > kMaxTime) {
      addWhy(why, "only " + std::to_string(number) + " pods came and went in time");
      break;
    }
    if (number % kEvery == kEvery / 2) {
      node->addHonest(added++);
    } else {
      node->addHostile(number);
    }
    node->tend();
    if (number % kEverySample == 0) {
      const auto sample = sampleOf(node->daemon().pid());
      if (!sample)
        return fail(Stage::cli, Reason::exited,
                    "the daemon exited after " + std::to_string(number) + " pods");
      samples.push_back(*sample);
    }
    std::this_thread::sleep_for(kPace);
  }
  const double seconds = watch.millis() / 1000;
  const auto counts = node->counts();
  auto result = reportSamples(samples, why);
  printFigure("duration", seconds, "s");
  printFigure("calls to CRI", static_cast<double>(counts.calls), "");
  printFigure("pulls requested", static_cast<double>(counts.pulls), "");
  printFigure("most unanswered pulls at once", static_cast<double>(counts.pullsAtOnce), "");
  const auto log = fs::file_size(node->daemon().log());
  printFigure("log of the daemon (level debug)", static_cast<double>(log) / (1 << 20), "MiB");
  result["seconds"] = seconds;
  result["pulls"] = counts.pulls;
  result["pullsAtOnce"] = counts.pullsAtOnce;
  result["logBytes"] = log;
  const auto amid = node->recoveries();
  printHead("start of an honest pod's sandbox to its ready fallback, ms");
  result["honestAlone"] = report({"honest pods alone", quiet});
  if (!amid) {
    addWhy(why, amid.error().message());
    return result;
  }
  result["honestAmid"] = report({"honest pods among hostile ones", *amid});
  if (percentile(*amid, 99) > percentile(quiet, 99) + kMaxAddedMs)
    addWhy(why, "hostile pods delay honest ones");
  return result;
}

/// Fallbacks that are being launched still write to folders that are being removed. Retries, as kubelet does.
Result<> removeAll(Kubelet& kubelet, const std::vector<Pod>& pods) {
  constexpr int kTries = 10;
  Result<> removed;
  for (int i = 0; i < kTries; ++i) {
    removed = removePods(kubelet, pods);
    if (removed) break;
    std::this_thread::sleep_for(500ms);
  }
  return removed;
}

/// On the real containerd: as many sandboxes as a large node has, one in ten honest.
Result<json::object> onContainerd(std::size_t count, std::string& why) {
  std::printf("\n  %zu real sandboxes on the real containerd\n", count);
  FB_TRY(const auto shop, Shop::open({.reprobeInterval = "60s", .installBinary = true, .workloadExtra = {}}));
  auto options = shop->daemonOptions(shop->image());
  options.extra += std::string("podAnnotations: {namespaces: [") + kHostileNamespace + "]}\n";
  FB_CHECK(shop->daemon->rewriteConfig(options));
  FB_CHECK(shop->daemon->stop());
  FB_CHECK(shop->daemon->restart());
  FB_TRY(const auto before, sampleOf(shop->daemon->pid()));
  std::vector<PodSpec> specs;
  std::size_t honest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const bool good = i % 10 == 5;
    specs.push_back(checkoutPod((good ? "honest-" : "web-") + std::to_string(i)));
    honest += good ? 1 : 0;
    if (good) continue;
    specs.back().namespaceName = kHostileNamespace;
    specs.back().annotations = hostileAnnotations(i);
  }
  FB_TRY(const auto pods, startPods(*shop->kubelet, specs));
  const bool all = waitUntil(kCeiling, [&] {
    std::this_thread::sleep_for(200ms);
    return readLog(shop->daemon->log()).ready.size() >= honest;
  });
  if (!all) addWhy(why, "real sandboxes: not every honest pod was recovered");
  FB_TRY(const auto full, sampleOf(shop->daemon->pid()));
  FB_CHECK(removeAll(*shop->kubelet, pods));
  std::optional<Sample> after;
  waitUntil(kCeiling, [&] {
    const auto now = sampleOf(shop->daemon->pid());
    if (now) after = *now;
    return !now || now->descriptors <= before.descriptors + kDescriptorMargin;
  });
  if (!after) return fail(Stage::cli, Reason::exited, "the daemon exited");
  std::printf("\n  %-34s %8s %8s %8s\n", "", "before", "all", "after");
  std::printf("  %-34s %8.1f %8.1f %8.1f\n", "resident memory, MiB", before.residentMiB, full.residentMiB,
              after->residentMiB);
  std::printf("  %-34s %8.0f %8.0f %8.0f\n", "descriptors", before.descriptors, full.descriptors,
              after->descriptors);
  std::printf("  %-34s %8.0f %8.0f %8.0f\n", "threads", before.threads, full.threads, after->threads);
  if (full.residentMiB > kMaxMiB) addWhy(why, "real sandboxes: memory above its ceiling");
  if (full.descriptors > kMaxDescriptors) addWhy(why, "real sandboxes: descriptors above their ceiling");
  if (after->descriptors > before.descriptors + kDescriptorMargin)
    addWhy(why, "real sandboxes: descriptors stay open");
  const auto row = [](const Sample& one) {
    return json::object{
        {"residentMiB", one.residentMiB}, {"descriptors", one.descriptors}, {"threads", one.threads}};
  };
  return json::object{{"sandboxes", count},
                      {"honest", honest},
                      {"before", row(before)},
                      {"all", row(full)},
                      {"after", row(*after)}};
}

int bench(std::size_t pods, std::size_t sandboxes) {
  std::string why;
  json::object result;
  const auto part = [&](const char* name, std::size_t size,
                        Result<json::object> (&measure)(std::size_t, std::string&)) {
    if (size == 0) return;
    auto figures = measure(size, why);
    if (!figures) addWhy(why, std::string(name) + ": " + figures.error().message());
    if (figures) result[name] = std::move(*figures);
    std::fflush(stdout);
  };
  part("fakeSocket", pods, onFakeSocket);
  part("containerd", sandboxes, onContainerd);
  return conclude("churn", why, std::move(result));
}

}  // namespace
}  // namespace fallbackd::bench

int main(int argc, char** argv) {
  const int pods = argc > 1 ? std::atoi(argv[1]) : 20'000;    // NOLINT(cert-err34-c): the user's own input
  const int sandboxes = argc > 2 ? std::atoi(argv[2]) : 300;  // NOLINT(cert-err34-c)
  if (pods < 0 || sandboxes < 0 || (pods > 0 && pods < 1000)) {
    std::fputs("usage: bench_churn [PODS [SANDBOXES]]: PODS is 0 or at least 1000\n", stderr);
    return 2;
  }
  return fallbackd::e2e::runIsolated(argc, argv, [=] {
    return fallbackd::bench::bench(static_cast<std::size_t>(pods), static_cast<std::size_t>(sandboxes));
  });
}
