// SPDX-License-Identifier: Apache-2.0
// The recovery time as the pod's clients see it: from the sandbox's /tasks/start, by containerd's own time
// stamp, to an accepted connection on the pod's IP, with a registry that refuses connections. Also, for the
// same pods, the time for the sandbox itself.
#include "figures.hpp"
#include "isolate.hpp"
#include "shop.hpp"
#include "task_starts.hpp"
#include "wait.hpp"

#include <cstdio>

#include <boost/json.hpp>

namespace fallbackd::bench {
namespace {

using namespace std::chrono_literals;
using namespace fallbackd::e2e;

constexpr int kRecoveries = 60;
constexpr double kGoalMedianMs = 150;
constexpr auto kCeiling = 30s;

Result<int> measure() {
  FB_TRY(const auto shop, Shop::open({.reprobeInterval = "60s", .installBinary = true, .workloadExtra = {}}));
  TaskStarts starts(shop->node->socket());
  Series sandbox{"RunPodSandbox, whole", {}};
  Series total{"sandbox /tasks/start to accepted connection (RTO)", {}};
  for (int i = 0; i < kRecoveries; ++i) {
    const Stopwatch watch;
    FB_TRY(const auto pod, shop->kubelet->startPod(checkoutPod("web-" + std::to_string(i))));
    sandbox.millis.push_back(watch.millis());
    if (!waitUntil(kCeiling, [&] { return accepts(pod.ip, Shop::kPort); })) {
      return fail(Stage::readiness, Reason::timeout, "pod " + pod.spec.name + " was not recovered");
    }
    const auto accepted = Wall::now();
    const auto started = starts.of(pod.sandboxId);
    if (!started) return fail(Stage::containerd, Reason::timeout, "no /tasks/start for " + pod.sandboxId);
    total.millis.push_back(std::chrono::duration<double, std::milli>(accepted - *started).count());
    FB_CHECK(shop->kubelet->removePod(pod));
  }
  FB_TRY(const auto metrics, shop->daemon->metrics());
  printHead(std::to_string(kRecoveries) + " recoveries, refused connection, ms");
  const double median = percentile(total.millis, 50);
  boost::json::array rows{report(sandbox), report(total)};
  std::printf("\n  %-58s %8s\n", "mean by phase, as fallbackd measures it", "ms");
  boost::json::object phases;
  for (const auto* phase : {"detect", "verify", "prepare", "health_check", "exec", "ready", "total"}) {
    const bool all = std::string_view(phase) == "total";
    const std::string family = all ? "fallbackd_recovery_seconds" : "fallbackd_recovery_phase_seconds";
    const std::string label = all ? "" : "phase=\"" + std::string(phase) + "\"";
    const double sum = sumOf(metrics, family + "_sum", label);
    const double count = sumOf(metrics, family + "_count", label);
    const double mean = count > 0 ? sum / count * 1000 : 0;
    phases[phase] = mean;
    std::printf("  %-58s %8.1f\n", phase, mean);
  }
  const std::string why = median < kGoalMedianMs ? "" : "median " + std::to_string(median) + " ms";
  return conclude("rto", why,
                  {{"goalMedianMs", kGoalMedianMs}, {"series", std::move(rows)}, {"meanPhaseMs", phases}});
}

int bench() {
  const auto code = measure();
  if (code) return *code;
  return conclude("rto", code.error().message(), {});
}

}  // namespace
}  // namespace fallbackd::bench

int main(int argc, char** argv) {
  return fallbackd::e2e::runIsolated(argc, argv, fallbackd::bench::bench);
}
